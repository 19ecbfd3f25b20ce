"""Rows of numbers, float32 [size] each, whose columns are standardised on the device where the spec has numbers."""
