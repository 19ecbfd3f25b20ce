"""Stages prepared for the CPU: packed convolutions and integer max pooling."""
