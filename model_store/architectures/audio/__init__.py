"""Networks for recordings, each a chain of stages that begins with the samples of a row's windows."""

from model_store.architectures.audio import speech_embedding

FAMILIES = (speech_embedding,)
"""Each as `registry` takes one: its BUILDERS, its MODALITY, and `check_input`."""
