"""Measuring a version on rows."""
