"""`ovng demo`: a whole network on one machine. The tests and benchmarks build theirs from the same parts."""
