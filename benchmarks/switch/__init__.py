"""The Switch alone: what its forwarding loop carries, beside the kernel's IP forwarding and a prototype in C.

    a: generator, first core ──── hub: Switch, last core ──── b: drops what arrives

`python -m benchmarks.switch`. Datagrams are made, not recorded: the Switch looks at 20 bytes of each, and so they have
a header and zeros. What was forwarded is counted by the device on `b`, the same way for all. The kernel forwards in the
context of whoever sends, here the generator: it has one core where a Switch has the other one too.
"""
