"""The bases for images."""
