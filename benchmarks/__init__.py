"""Benchmarks: Monge and its peers, on the same data, on the same machine, in the same session."""
