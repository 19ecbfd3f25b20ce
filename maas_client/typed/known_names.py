"""Names that a filter or an order asks for and nothing has: which there are instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

from maas.model_store.v1 import model_store_pb2

from maas_client.typed.shorthand import id_of

_ASKED = re.compile(r"""\b(?:(metrics|tags)\.|(aliases):)"?([^\s"'<>=!:*]+)""")
_KINDS = {"metrics": "metric", "tags": "tag", "aliases": "alias"}
_SHOWN = 20


def unknown_names(asked: str, among: str, known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield a remark for each metric, tag or alias in a filter or an order that none of those listed has.

    `known` has the names that there are, for each kind; `among` says what is listed.
    """
    for of_key, of_alias, name in dict.fromkeys(match.groups() for match in _ASKED.finditer(asked)):
        kind = of_key or of_alias
        if name not in known[kind]:
            yield f"no {among} has {_article(_KINDS[kind])} {name!r}: {there_are(name, known[kind])}"


def there_are(name: str, known: Collection[str]) -> str:
    """Say which names there are, and which of them is near to one that is not there."""
    if not known:
        return "there are none"
    names = sorted(known)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    near = get_close_matches(name, names, 1)
    asked = f"; do you mean {near[0]}?" if near else ""
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:_SHOWN])}{more}{asked}"


def names_of_versions(versions: Iterable[model_store_pb2.ModelVersion]) -> Mapping[str, Collection[str]]:
    """Return the names that versions have."""
    found = list(versions)
    return {
        "metrics": {name for version in found for name in version.metric_values},
        "tags": {key for version in found for key in version.tags},
        "aliases": {id_of(alias) for version in found for alias in version.aliases},
    }


def names_of_models(models: Iterable[model_store_pb2.Model]) -> Mapping[str, Collection[str]]:
    """Return the names that models have."""
    found = list(models)
    return {
        "metrics": set(),
        "tags": {key for model in found for key in model.tags},
        "aliases": {id_of(alias.name) for model in found for alias in model.aliases},
    }


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
