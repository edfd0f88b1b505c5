"""What ovng costs and what it carries, beside others, on this machine.

`python -m benchmarks` (that is `make bench`) measures whole tunnels through one hub; `python -m benchmarks.micro`
measures the parts. Both print a table of medians with ratios and write JSON into `benchmarks/out/`. Absolute figures
belong to the machine; what to compare is the ratios of one run.
"""
