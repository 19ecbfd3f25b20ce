"""Evaluations, reports and recommendations, each in its own process."""
