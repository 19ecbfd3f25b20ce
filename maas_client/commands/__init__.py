"""One module for each group of `maas` commands."""
