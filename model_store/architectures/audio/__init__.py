"""Networks for recordings, each a chain of stages that begins with the samples of a row's windows."""

from model_store.architectures.audio import pictures, recurrent, speech_embedding, whisper

FAMILIES = (speech_embedding, whisper, recurrent, pictures)
"""Each as `registry` takes one: its BUILDERS, its MODALITY, and `check_input`."""
