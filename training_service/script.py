"""The `maas-training-service` script: starts the service, or names the missing packages."""

from __future__ import annotations

from model_store.extras import end_without


def main() -> None:
    """Run the service; end with 1 and one line on standard error where its packages are missing."""
    end_without("server", "maas-training-service")
    from training_service.__main__ import main as serve  # noqa: PLC0415  it imports the packages of the extra

    serve()
