"""The documents name modules, links, commands and options that exist, and have no block that no test runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from maas_client.__main__ import app
from tests.documents.blocks import PAGES, PICTURES, PROGRAMS, README, ROOT, read_blocks

PACKAGES = ("model_store", "training_service", "inference_service", "grpc_runtime", "maas_client")
DOCUMENTS = [README, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`([a-z0-9_/]+(?:\.py|/))`")
"""A module or a folder, from the root, or within a package."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_are_named_exist(document: Path) -> None:
    """From the root, or within some package: `batching/queues.py` is inference_service's."""
    places = [ROOT, *(ROOT / package for package in PACKAGES)]
    missing = [
        name
        for name in NAMED.findall(document.read_text(encoding="utf-8"))
        if not any((place / name).exists() for place in places) and not any(place.rglob(name) for place in places[1:])
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Each relative link names a file, and a heading of it where it names one."""
    for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")):
        linked = document.parent / name if name else document
        assert linked.exists(), name
        assert not anchor or anchor in _anchors(linked), f"{name}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_run(document: Path) -> None:
    """By tests/e2e/test_documents.py, which runs these documents and languages, and fenced blocks alone."""
    blocks = [block for block in read_blocks(document) if block.language not in PICTURES]
    assert {block.language for block in blocks} <= PROGRAMS.keys()
    if document in {README, *PAGES}:
        assert blocks
        assert "\n\n    " not in re.sub(r"```[\s\S]*?```", "", document.read_text(encoding="utf-8"))
    else:
        assert not blocks


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_exist(document: Path) -> None:
    """Each `maas` command of a block or a sentence is one of the command line, and so are its options."""
    assert [problem for words in _commands(document) for problem in _problems(words)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_targets_of_make_exist(document: Path) -> None:
    """Each `make` command has its rule in the Makefile."""
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"(?:`|^ {4})make ([\w-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in named if name not in rules] == []


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def _commands(document: Path) -> Iterator[Sequence[str]]:
    """Yield the words behind `maas` of each command in a document."""
    blocks = "\n".join(block.text for block in read_blocks(document) if block.language == "sh")
    spans = re.findall(r"`(maas [^`]*)`", document.read_text(encoding="utf-8"))
    for line in (*blocks.replace("\\\n", " ").splitlines(), *spans):
        if line.startswith("maas "):
            yield shlex.split(line, comments=True)[1:]


def _problems(words: Sequence[str]) -> Iterator[str]:
    """Yield each word of a command that the command line does not know."""
    command = typer.main.get_command(app)
    for word in words:
        if re.match(r"-\D", word):
            known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
            if word.partition("=")[0] not in known | {"--help"}:
                yield f"{command.name} has no option {word}"
        elif isinstance(command, TyperGroup):
            if word not in command.commands:
                yield f"{command.name} has no command {word}"
                return
            command = command.commands[word]
