"""Datasets, jobs, metrics and recipes as a person reads them."""
