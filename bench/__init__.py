"""Benchmarks: what an answer costs, measured on the running system; docs/performance.md shows them."""
