"""Commands of an install that has the client alone: one line says what to install."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

import inference_service.script
import training_service.script
from maas_client.exit_codes import ExitCode
from model_store import extras
from tests.maas_client.running import Maas

COMMANDS = (
    ("up",),
    ("demo",),
    ("photos", "photos-that-are-not-there"),
    ("bases",),
    ("import", "resnet18"),
    ("store", "migrate"),
    ("store", "fsck"),
    ("store", "du"),
    ("store", "gc"),
    ("store", "prune", "--keep-last", "1"),
)


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide torch from whoever asks what is installed."""

    def version(name: str) -> str:
        if name == "torch":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(extras, "version", version)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_the_missing_package_and_its_remedy_are_named(command: Maas, arguments: tuple[str, ...]) -> None:
    """Exit code 8, nothing on standard output, and one line that can be typed."""
    code, out, err = command(*arguments)
    name = " ".join(("maas", *arguments[: 2 if arguments[0] == "store" else 1]))
    assert (code, out) == (ExitCode.NOT_INSTALLED, "")
    assert err == f"error {name} needs packages that are not installed (torch): {extras.remedy('server')}\n"


@pytest.mark.parametrize("script", [training_service.script, inference_service.script])
def test_the_services_scripts_name_them_too(script: object) -> None:
    """`sys.exit` of a text prints it and ends with 1."""
    with pytest.raises(SystemExit, match=r"^maas-\w+-service: .* \(torch\): pip install .*\[server\]"):
        script.main()  # type: ignore[attr-defined]
