"""Loaded versions: the loader, resident stages, precision and its check, CUDA graphs."""
