"""What a plain install leaves out: named, with the command that adds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from model_store import extras


class Installed:
    """This distribution, as an installer noted where it came from."""

    requires = distribution("maas-transfer").requires

    def __init__(self, origin: Mapping[str, object] | None) -> None:
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, "maas-transfer[server]"),
        ({"url": "file:///src/my%20maas", "dir_info": {}}, "/src/my maas[server]"),
        ({"url": "file:///dist/maas.whl", "archive_info": {}}, "maas-transfer[server] @ file:///dist/maas.whl"),
        (
            {"url": "https://example.com/maas.git", "vcs_info": {"vcs": "git", "commit_id": "4f2a"}},
            "maas-transfer[server] @ git+https://example.com/maas.git@4f2a",
        ),
    ],
)
def test_the_remedy_installs_from_the_same_place(
    monkeypatch: pytest.MonkeyPatch, origin: Mapping[str, object] | None, requirement: str
) -> None:
    """An index, a folder, a wheel or a repository: what was installed is what gets the extra."""
    monkeypatch.setattr(extras, "distribution", lambda _: Installed(origin))
    assert extras.remedy("server") == f'pip install "{requirement}"'


def test_an_editable_install_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout is not replaced by a copy of it."""
    origin = {"url": "file:///src/maas", "dir_info": {"editable": True}}
    monkeypatch.setattr(extras, "distribution", lambda _: Installed(origin))
    assert extras.remedy("images") == 'pip install -e "/src/maas[images]"'


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every missing package of the extra, none that is there, and none of another extra."""

    def version(name: str) -> str:
        if name in {"torch", "alembic", "pillow", "rich"}:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(extras, "distribution", lambda _: Installed(None))
    monkeypatch.setattr(extras, "version", version)
    with pytest.raises(
        extras.NotInstalled, match=r"^maas up needs .* \(alembic, pillow, torch\): pip install .*server"
    ):
        extras.require("server", "maas up")
    with pytest.raises(extras.NotInstalled, match=r"\(pillow\): pip install .*images"):
        extras.require("images", "a contact sheet")


@pytest.mark.parametrize("extra", ["images", "server"])
def test_a_complete_install_lacks_nothing(extra: str) -> None:
    """Whoever runs the tests has all of it."""
    extras.require(extra, "a test")
