"""Rows of numbers, float32 [size] each, that go to the first stage as they are."""
