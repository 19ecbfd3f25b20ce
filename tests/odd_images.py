"""Files that decoders fail on in odd ways."""

from __future__ import annotations

# A palette PNG without a palette: Pillow fails with an AssertionError, which has no text.
PALETTE_WITHOUT_COLOURS = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080300000028cb34bb"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
