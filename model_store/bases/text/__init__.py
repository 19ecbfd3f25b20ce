"""The bases for texts."""
