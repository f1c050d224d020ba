"""Benchmarks: what an answer costs, measured on the running demo."""
