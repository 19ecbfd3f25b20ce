"""Reads the requests of maas.model_store.v1: every text of a caller's is checked here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct
from maas.model_store.v1 import model_store_pb2 as pb

from model_store import names
from model_store.database.paging import PageRequest
from model_store.errors import InvalidInput, InvalidManifest, Violation
from model_store.manifests import DIGEST, Manifest
from model_store.records.aliases import Share, Traffic
from model_store.records.resources import CalibrationDigests, Lineage, Notes
from model_store.texts import MAX_ACTOR, MAX_DESCRIPTION, MAX_REASON, MAX_REQUEST_ID, check_text
from model_store.transactions.listings import ListRequest
from model_store.transactions.publication import Publication, check_metric_values
from training_service.api.evaluation_convert import read_metrics
from training_service.api.violations import Violations
from training_service.seeds import check_seed

_MAX_DIGESTS = 10_000
_NO_DIGEST = "must be 64 lower-case hexadecimal digits"
_DEFAULT_GENERATIONS, _MAX_GENERATIONS = 10, 100
_DEFAULT_NODES, _MAX_NODES = 1000, 10_000
Named = pb.SetAliasRequest | pb.RollBackAliasRequest | pb.DeleteAliasRequest


class Listed(Protocol):
    """A request for a page of a listing."""

    page_size: int
    page_token: str
    filter: str
    order_by: str


class Noted(Protocol):
    """A message with a description and tags."""

    description: str

    @property
    def tags(self) -> Mapping[str, str]:
        """Return its tags."""


def list_request(request: Listed) -> ListRequest:
    """Read how a listing is asked for; one of resources that are never deleted has no `show_deleted`."""
    page = PageRequest(request.page_size, request.page_token)
    return ListRequest(page, request.filter, request.order_by, getattr(request, "show_deleted", False))


def notes(message: Noted, field: str) -> Notes:
    """Read a description and tags; raise InvalidInput naming each text that cannot be kept."""
    violations, tags = Violations(), {}
    with violations.collected():
        check_text(message.description, f"{field}.description", MAX_DESCRIPTION)
    with violations.collected():
        tags = names.check_tags(message.tags, f"{field}.tags")
    violations.raise_any()
    return Notes(message.description, tags)


def notes_change(message: Noted, mask: FieldMask, field: str) -> Callable[[Notes], Notes]:
    """Return the existing notes after an update; without a mask, or with `*`, the update replaces them."""
    given, paths = notes(message, field), list(mask.paths)
    keys = [path.removeprefix("tags.") for path in paths if path.startswith("tags.")]
    unknown = [path for path in paths if path not in {"*", "description", "tags"} and not path.startswith("tags.")]
    if unknown:
        raise InvalidInput.of("update_mask", f"may name description, tags and tags.KEY, not {unknown[0][:80]!r}")

    def change(old: Notes) -> Notes:
        if not paths or "*" in paths:
            return given
        tags = dict(given.tags if "tags" in paths else old.tags)
        for key in keys:
            tags.pop(key, None)
            if given.tags.get(key):
                tags[key] = given.tags[key]
        return Notes(given.description if "description" in paths else old.description, names.check_tags(tags, "tags"))

    return change


def version_or_alias(text: str, field: str) -> names.AliasName | names.VersionName:
    """Read the name of a version, given by number or by alias."""
    target = names.parse_target(text, field)
    if isinstance(target, names.ModelName):
        raise InvalidInput.of(field, "must name a version or an alias, such as models/flowers/versions/3")
    return target


def traffic(request: pb.SetAliasRequest, model_id: str) -> Traffic:
    """Read the shares of requests that other versions of the alias's model get."""
    canaries = [_share(share, model_id, f"canaries[{index}]") for index, share in enumerate(request.canaries)]
    shadow = _share(request.shadow, model_id, "shadow") if request.HasField("shadow") else None
    return Traffic(tuple(canaries), shadow)


def alias_note(request: Named) -> dict[str, str | None]:
    """Read the actor and the reason for an alias's history, and the etag that the caller saw."""
    _check_texts(reason=(request.reason, MAX_REASON), actor=(request.actor, MAX_ACTOR))
    return {"actor": request.actor, "reason": request.reason, "etag": request.etag or None}


def digests(given: Iterable[str], field: str, *, at_least: int) -> list[str]:
    """Read a list of digests."""
    found = list(given)
    if not at_least <= len(found) <= _MAX_DIGESTS:
        raise InvalidInput.of(field, f"must be {at_least} to {_MAX_DIGESTS} digests, not {len(found)}")
    wrong = [
        Violation(f"{field}[{index}]", _NO_DIGEST) for index, digest in enumerate(found) if not DIGEST.fullmatch(digest)
    ]
    if wrong:
        raise InvalidInput(*wrong[:100])
    return found


def lineage_limits(request: pb.GetLineageRequest) -> dict[str, int]:
    """Read the requested extent of a lineage."""
    return {
        "num_up": _generations(request, "max_generations_up"),
        "num_down": _generations(request, "max_generations_down"),
        "max_nodes": _in_range(request.max_nodes or _DEFAULT_NODES, 1, _MAX_NODES, "max_nodes"),
    }


def publication(header: pb.PublishModelVersionRequest.Header) -> Publication:
    """Read a publisher's description of a version; raise InvalidInput naming each value that cannot be kept."""
    _check_texts(
        **{
            "header.request_id": (header.request_id, MAX_REQUEST_ID),
            "header.actor": (header.actor, MAX_ACTOR),
        }
    )
    check_seed(header.seed, "header.seed")
    base = names.parse_version(header.base, "header.base") if header.base else None
    with named_in("header.manifest_json"):
        manifest = Manifest.from_json(header.manifest_json.encode())
    model_id = names.parse_model(header.parent, "header.parent")
    return Publication(
        model_id=model_id,
        manifest=manifest,
        lineage=Lineage(base=base, recipe=_recipe(header.recipe), seed=header.seed),
        metrics=read_metrics(header.metrics, "header.metrics") if header.HasField("metrics") else None,
        metric_values=check_metric_values(header.metric_values, "header.metric_values"),
        calibration=_calibration(header.calibration) if header.HasField("calibration") else None,
        notes=notes(header, "header"),
        alias=names.parse_alias_of(header.alias, model_id, "header.alias") if header.alias else None,
        actor=header.actor or "PublishModelVersion",
        request_id=header.request_id or None,
    )


@contextmanager
def named_in(field: str) -> Iterator[None]:
    """Say in which field of the request something was that does not fit the architecture."""
    try:
        yield
    except InvalidManifest as error:
        raise InvalidInput.of(field, str(error)) from error


def _calibration(message: pb.Calibration) -> CalibrationDigests:
    for field in ("rows_digest", "logits_digest"):
        if not DIGEST.fullmatch(getattr(message, field)):
            raise InvalidInput.of(f"header.calibration.{field}", _NO_DIGEST)
    return CalibrationDigests(message.rows_digest, message.logits_digest)


def _recipe(message: Struct) -> dict[str, Any]:
    try:
        return MessageToDict(message)
    except (ValueError, SerializeToJsonError) as error:
        raise InvalidInput.of("header.recipe", f"must be JSON, with finite numbers only: {error}") from error


def _generations(request: pb.GetLineageRequest, field: str) -> int:
    """Read a number of generations."""
    given = getattr(request, field) if request.HasField(field) else _DEFAULT_GENERATIONS
    return _in_range(given, 0, _MAX_GENERATIONS, field)


def _share(message: pb.VersionShare, model_id: str, field: str) -> Share:
    version = names.parse_version(message.version, f"{field}.version")
    if version.model_id != model_id:
        raise InvalidInput.of(f"{field}.version", f"must be a version of {names.ModelName(model_id)}, as the alias is")
    return Share(version.number, message.percent)


def _in_range(number: int, least: int, most: int, field: str) -> int:
    if not least <= number <= most:
        raise InvalidInput.of(field, f"must be {least} to {most}, not {number}")
    return number


def _check_texts(**texts: tuple[str, int]) -> None:
    violations = Violations()
    for field, (text, limit) in texts.items():
        with violations.collected():
            check_text(text, field, limit)
    violations.raise_any()
