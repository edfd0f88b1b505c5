"""What the parts cost: sealing, look-up, handshakes, reports, each beside something that everybody knows."""
