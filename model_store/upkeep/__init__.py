"""Keeps a store whole and small: checks and repairs it, collects garbage, prunes versions, counts bytes."""
