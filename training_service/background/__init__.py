"""Evaluations and reports, each in its own process."""
