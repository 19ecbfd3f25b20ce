"""What the benchmarks share: services in processes, load, figures."""
