"""Tensors as bytes: the blobs of stages, and the header of safetensors files."""
