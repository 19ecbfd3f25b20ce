"""The `maas-training-service` script: starts the service, or names the missing packages."""

from __future__ import annotations

import sys

from model_store.extras import NotInstalled, require

_NAME = "maas-training-service"


def main() -> None:
    """Run the service; end with 1 and one line on standard error where its packages are missing."""
    try:
        require("server", _NAME)
    except NotInstalled as error:
        sys.exit(f"{_NAME}: {error}")
    from training_service.__main__ import main as serve  # noqa: PLC0415  it imports what was asked for above

    serve()
