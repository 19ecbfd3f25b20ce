"""The parts of the benchmark of modalities, one module each."""
