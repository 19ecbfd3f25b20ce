"""A process that dies at its work, in the way that its environment names."""

from __future__ import annotations

import os
import signal
import sys

END = "MAAS_TEST_END"


def main() -> None:
    """Die by a signal, with a code, or in the middle of a message."""
    end = os.environ[END]
    if end == "exit":
        sys.exit(3)
    if end == "half":
        sys.stdout.buffer.write(b"m\0\0\0\x09half")
        sys.stdout.flush()
        sys.exit(1)
    os.kill(os.getpid(), signal.Signals[end])
