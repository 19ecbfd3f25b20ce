"""Recommendations of bases on the wire."""
