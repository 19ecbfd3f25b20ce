"""Weights, versions and images carried between files of this machine and the services."""
