"""Evaluations and reports, each in a process of its own."""
