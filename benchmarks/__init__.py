"""Benchmarks: each measures claims as ratios in one run, prints a table and writes JSON."""
