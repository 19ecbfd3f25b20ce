"""A process that tells what it finds when it is asked."""

from __future__ import annotations

import os
import sys

NAME = "MAAS_TEST_NAME"
IMPORTED = "decimal"


def main() -> None:
    """Answer each line until one says `end`, or standard input ends."""
    for line in sys.stdin:
        if line == "end\n":
            sys.exit(4)
        sys.stdout.write(f"{os.getppid()} {os.environ.get(NAME)} {IMPORTED in sys.modules}\n")
        sys.stdout.flush()
