"""Scoring: a model's answers to a whole table or folder, written to a file as they arrive."""
