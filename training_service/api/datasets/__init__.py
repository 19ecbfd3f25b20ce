"""Datasets on the wire: what requests ask of them, and how they are written."""
