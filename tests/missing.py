"""What tests do where a server or a client that they need is not here: skip, or fail where it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

VARIABLE = "REQUIRED_FOR_TESTS"
"""Names, separated by commas, of what must be here: `postgres`, `s3`, `tritonclient`, `mount`."""


def skip_or_fail(name: str, reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it where the environment requires what is missing."""
    if name in os.environ.get(VARIABLE, "").split(","):
        pytest.fail(f"{reason} ({VARIABLE} names {name})", pytrace=False)
    pytest.skip(reason)
