"""The inference service: hot-loads versions and answers predictions."""
