"""The model store: content-addressed stages, manifests, and a registry of versions. No transport in it."""
