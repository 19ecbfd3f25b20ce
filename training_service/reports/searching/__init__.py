"""Sections of reports on searches."""
