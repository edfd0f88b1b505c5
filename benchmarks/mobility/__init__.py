"""What a move costs: the mobility scenarios, ovng beside others, with a limit for every row.

`python -m benchmarks.mobility` (that is `make bench-mobility`) builds two nodes with two uplinks each, each uplink
behind a NAT router of its own, and a hub 20 ms away; sends 1000 packets a second both ways and a TCP stream through the
tunnel under test; makes the uplinks misbehave; and says how long nothing arrived and what was lost.
"""
