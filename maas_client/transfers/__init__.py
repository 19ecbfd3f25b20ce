"""Weights, versions and examples carried between files of this machine and the services."""
