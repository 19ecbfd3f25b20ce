"""Short forms of resource names, as people type them: `flowers`, `flowers/3`, `flowers@production`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from maas.model_store.v1.model_store_pb2 import Alias, AliasMove

from maas_client.errors import InvalidArgument

_ENDING = r"\.(zip|tar|tgz|tar\.gz|csv)$"
_MAX_ID = 63


def target_name(text: str) -> str:
    """Expand a model, version or alias to its resource name; a full name stays as it is.

    An architecture's underscores become the dashes that its model's id has: `mobilenet_v2` means `models/mobilenet-v2`.
    """
    if text.startswith("models/"):
        return text
    text = text.replace("_", "-")
    if "/versions/" in text or "/aliases/" in text:
        return f"models/{text}"
    model, _, alias = text.partition("@")
    if alias:
        return f"models/{model}/aliases/{alias}"
    model, _, number = text.partition("/")
    return f"models/{model}/versions/{number}" if number else f"models/{model}"


def version_of(model: str, version: int | str) -> str:
    """Return the resource name of a version: a number of this model, `flowers/3`, or a full name; `""` for 0."""
    if isinstance(version, int) or version.isdecimal():
        return target_name(f"{id_of(model)}/{version}") if int(version) else ""
    return target_name(version)


def resource_name(text: str) -> str:
    """Expand the name of anything: a dataset's and a job's are written out, all others may be short."""
    return text if text.startswith(("datasets/", "trainingJobs/")) else target_name(text)


def short_name(name: str) -> str:
    """Return the short form of a version's resource name, and any other as it is."""
    return name.removeprefix("models/").replace("/versions/", "/") if "/versions/" in name else name


def model_name(text: str) -> str:
    """Expand a model's id."""
    return text if text.startswith("models/") else f"models/{text}"


def model_of(name: str) -> str:
    """Return the model's part of a version's or an alias's resource name."""
    return "/".join(name.split("/")[:2])


def alias_name(model: str, alias: str) -> str:
    """Write the resource name of a model's alias."""
    return f"{model_name(model)}/aliases/{alias}"


def alias_text(alias: Alias | AliasMove, version: str) -> str:
    """Write what an alias points at: `3`, or `3 (85%), 4 (10%), 5 (5%), shadowed by 6 (100%)`."""
    if not alias.canaries and not alias.HasField("shadow"):
        return id_of(version)
    rest = 100 - sum(share.percent for share in alias.canaries)
    shares = [(version, rest), *((share.version, share.percent) for share in alias.canaries)]
    texts = [_share_text(name, percent) for name, percent in shares]
    shadow = alias.shadow
    return ", ".join(texts + ([f"shadowed by {_share_text(shadow.version, shadow.percent)}"] if shadow.version else []))


def dataset_name(text: str) -> str:
    """Expand a dataset's id."""
    return text if text.startswith("datasets/") else f"datasets/{text}"


def job_name(text: str) -> str:
    """Expand a training job's id."""
    return text if text.startswith("trainingJobs/") else f"trainingJobs/{text}"


def id_of(name: str) -> str:
    """Return the last segment of a resource name."""
    return name.rpartition("/")[2]


def pairs(texts: Iterable[str], form: str) -> dict[str, str]:
    """Read KEY=VALUE words; raise InvalidArgument saying what the form is where one has another."""
    split = [text.partition("=") for text in texts]
    if wrong := [key for key, separator, _ in split if not separator or not key]:
        raise InvalidArgument(f"{wrong[0]!r} must have the form {form}")
    return {key: value for key, _, value in split}


def id_from_path(path: Path, option: str) -> str:
    """Make a resource id of a folder's or file's name; raise InvalidArgument, naming the option, where none is.

    Accents are left off, and a number in front goes to the end. What would lose letters, or is too long, would give
    different data one id.
    """
    name = path.resolve().name
    letters = unicodedata.normalize("NFKD", re.sub(_ENDING, "", name, flags=re.IGNORECASE)).casefold()
    words = re.sub(r"[^a-z0-9]+", "-", "".join(each for each in letters if not unicodedata.combining(each))).strip("-")
    number, rest = re.fullmatch(r"([0-9-]*)(.*)", words, re.DOTALL).groups()  # type: ignore[union-attr]
    made = "-".join(filter(None, [rest, number.strip("-")]))
    if not rest or len(made) > _MAX_ID or any(each.isalnum() and not each.isascii() for each in letters):
        raise InvalidArgument(f"no id can be made of the name {name!r}: choose one with {option}")
    return made


def _share_text(version: str, percent: float) -> str:
    return f"{id_of(version)} ({percent:g}%)"
