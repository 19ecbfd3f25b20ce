"""Searches on the wire."""
