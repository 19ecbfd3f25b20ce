"""The pages of reports, parsed as a browser would, and texts of users that try to be markup."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from tests.training_service.running import (
    TIMEOUT,
    RunningService,
)

HOSTILE = (
    "<script>alert(1)<",
    '" onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "{{7*7}} \u202eabc",
)

VOID = frozenset({"meta", "img", "br"})
"""Elements of these pages that have no end."""
PATH = '"><svg onload=alert(1)>.png'


@dataclass
class Page(HTMLParser):
    """What a browser makes of a page: texts and attributes by element; elements that are not closed fail."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def values(self, name: str) -> list[str]:
        """Return the values that an attribute has on this page."""
        return [value for _, attribute, value in self.attributes if attribute == name]


def parse(html: str) -> Page:
    """Read a page, and make sure that it is whole, runs nothing and fetches nothing."""
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & page.texts.keys()
    names = {name for _, name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"srcset", "action", "data", "formaction"}
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    assert "url(" not in html
    assert "@import" not in html
    policy = next(value for value in page.values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    return page


def report(service: RunningService, job: str) -> Page:
    """Ask for the report on a job."""
    found = service.training.GetReport(pb.GetReportRequest(name=job), timeout=TIMEOUT)
    assert found.name == job
    return parse(found.html)


def noise() -> dict[str, bytes]:
    """Return files of nothing but noise, so that no label can be learnt."""
    random = np.random.default_rng(0)
    files = {"<svg onload=alert(2)>/broken.png": b"no image"}
    for label in HOSTILE:
        for number in range(40):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8)).save(file, "PNG")
            files[f"{label}/{number}{PATH}"] = file.getvalue()
    return files
