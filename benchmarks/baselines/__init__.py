"""What the benchmarks compare with: programs as people write them without maas."""
