"""How commands end: one code for each kind of end, in one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maas_client.exit_codes import MEANINGS, ExitCode
from tests.maas_client.commands.publishing import publish
from tests.maas_client.running import Maas
from tests.training_service.registry_running import RunningRegistry

NOBODY = "127.0.0.1:1"
ROOT = Path(__file__).parents[2]


def test_the_table_is_whole_and_documented(command: Maas) -> None:
    """The help names each code, and the docs have the table."""
    assert MEANINGS.keys() == set(ExitCode)
    _, out, _ = command("--help")
    assert all(
        re.search(rf"\b{code} {code.name.lower().replace('_', ' ')}", " ".join(out.split())) for code in ExitCode
    )
    page = (ROOT / "docs/client.md").read_text()
    assert [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)] == [
        f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("models", ExitCode.DONE),
        ("--version", ExitCode.DONE),
        (f"health {NOBODY}", ExitCode.FAILED),
        ("models --no-such-option", ExitCode.USAGE),
        ("delete flowers@production --yes", ExitCode.USAGE),
        ("models create No!", ExitCode.USAGE),
        ("show flowers/7", ExitCode.NOT_FOUND),
        ("alias show flowers none", ExitCode.NOT_FOUND),
        ("models create flowers", ExitCode.CONFLICT),
        ("undelete flowers", ExitCode.CONFLICT),
        ("predict flowers {file}", ExitCode.UNAVAILABLE),
        ("status --timeout 0.2", ExitCode.UNAVAILABLE),
    ],
)
def test_each_kind_of_end_has_its_code(
    registry: RunningRegistry, maas: Maas, monkeypatch: pytest.MonkeyPatch, arguments: str, code: ExitCode
) -> None:
    """Programs need not read the text."""
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", NOBODY)
    publish(registry)
    found, _, err = maas(*arguments.format(file=__file__).split())
    assert (found, "Traceback" in err) == (code, False), err
