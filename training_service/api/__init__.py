"""The RPCs of maas.training.v1 and maas.model_store.v1: servicers, requests, conversion, uploads."""
