"""The output of frozen stages, computed once and kept."""
