"""Datasets of any modality: manifests, splits, archives and sources."""
