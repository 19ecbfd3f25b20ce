"""The parts of the benchmark of choosing a model, one module each."""
