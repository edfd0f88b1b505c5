"""C functions only; nothing for Python."""
