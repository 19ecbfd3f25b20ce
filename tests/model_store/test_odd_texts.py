"""Texts of any length and alphabet, NUL and halves of characters at the store's own methods: kept, cut or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from model_store.database.engine import Database
from model_store.database.paging import PageRequest, encode_token
from model_store.errors import InvalidInput, InvalidManifest, StoreError
from model_store.manifests import Manifest
from model_store.names import AliasName, VersionName
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import ErrorCode, JobError, JobSpec, JobUrgency
from model_store.records.metrics import ClassificationDetail, LabelMetrics, Metrics
from model_store.records.promotion import PromotionSpec, PromotionState, Verdict
from model_store.records.resources import Dataset, Lineage, Notes
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.texts import MAX_REASON
from model_store.transactions.listings import ListRequest
from model_store.transactions.promotions import Gated, PromotionStore
from tests.model_store.making import manifest, publication, registered_dataset

ODD = {
    "10,000 letters": "x" * 10_000,
    "every alphabet": "Aé Ж花鳥 سلام हिन्दी ไทย 👩\u200d👧 e\u0301 \u202e'\"%\\" * 200,
    "NUL": "a\x00b",
    "half a character": "a\ud800b",
    "control": "\x1b]0;a\x07\r\n",
}
METRICS = Metrics("test", 3, {"accuracy": 0.9})
VERDICT = Verdict(True, "good", 0.9, 1, 0.8)
SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None)
PROMOTE = PromotionSpec("production", shadow_seconds=30)
_numbers = count()

odd_texts = pytest.mark.parametrize("text", ODD.values(), ids=ODD)


class Setting:
    """A store with something of everything, and its facades."""

    def __init__(self, database: Database, store: ModelStore) -> None:
        self.store = store
        self.jobs = JobStore(database)
        self.datasets = DatasetStore(database, store.blobs)
        self.promotions = PromotionStore(database)
        store.publish(publication(store, "base"))
        registered_dataset(store, "d")
        for _ in range(2):
            store.publish(publication(store, alias="production"))

    def claim(self, **spec: Any) -> Claim:
        """Queue a job and begin to run it."""
        self.jobs.enqueue(replace(SPEC, urgency=JobUrgency(priority=next(_numbers)), **spec))
        claim = self.jobs.claim("runner")
        assert claim is not None
        self.jobs.advance(claim, JobState.RUNNING)
        return claim

    def publish(self, **more: Any) -> None:
        """Publish a version of a model of its own."""
        self.store.publish(publication(self.store, f"model-{next(_numbers)}", **more))

    def gated(self, verdict: Verdict, spec: PromotionSpec = PROMOTE) -> str:
        """Publish a job's version with what the gate said of it, and return the job's id."""
        self.store.set_alias(AliasName("flowers", "production"), VersionName("flowers", 1))
        claim = self.claim(promote=spec)
        seeds = (1, 100 + next(_numbers))
        self.store.publish(publication(self.store, seeds=seeds, claim=claim, gated=Gated(spec, verdict, 60)))
        return claim.job_id


@pytest.fixture
def setting(database: Database, store: ModelStore) -> Setting:
    """A store on each kind of database."""
    return Setting(database, store)


def calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield every way in which a text gets into the store, or is looked for in it."""
    for some in (model_calls, alias_calls, publishing_calls, listing_calls, dataset_calls, job_calls, promotion_calls):
        yield from some(setting, text)


def model_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Models and versions."""
    store, one = setting.store, VersionName("flowers", 1)
    notes = Notes(text, {"key": text}), Notes("", {text: "value"})
    for each in notes:
        yield "create_model", lambda each=each: store.create_model(f"model-{next(_numbers)}", each)
        yield "update_model", lambda each=each: store.update_model("flowers", lambda _: each)
        yield "update_version", lambda each=each: store.update_version(one, lambda _: each)
        yield "publish.notes", lambda each=each: setting.publish(notes=each)
    yield "create_model.id", lambda: store.create_model(text, Notes())
    for method in (store.get_model, store.delete_model, store.undelete_model):
        yield method.__name__, lambda method=method: method(text)
    for method in (store.get_version, store.delete_version, store.undelete_version, store.resolve, store.lineage):
        yield method.__name__, lambda method=method: method(VersionName(text, 1))
    yield "etag", lambda: store.update_model("flowers", lambda old: old, text)


def alias_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Aliases and their history."""
    store, one, production = setting.store, VersionName("flowers", 1), AliasName("flowers", "production")
    yield "set_alias", lambda: store.set_alias(AliasName("flowers", text), one)
    yield "set_alias.reason", lambda: store.set_alias(AliasName("flowers", "a"), one, actor=text, reason=text)
    yield "get_alias", lambda: store.get_alias(AliasName("flowers", text))
    yield "list_alias_history", lambda: store.list_alias_history(AliasName("flowers", text), PageRequest())
    yield "roll_back_alias", lambda: store.roll_back_alias(production, actor=text, reason=text)
    yield "delete_alias", lambda: store.delete_alias(AliasName("flowers", "a"), actor=text, reason=text)


def publishing_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All that a publication says."""
    for field in ("alias", "actor", "reason", "request_id"):
        yield f"publish.{field}", lambda field=field: setting.publish(**({"alias": "a"} | {field: text}))
    yield "publish.recipe", lambda: setting.publish(lineage=Lineage(recipe={text: [text]}))
    yield "publish.metric", lambda: setting.publish(metric_values={text: 1.0})
    measured = replace(METRICS, split=text, detail=ClassificationDetail((LabelMetrics(text, 1, 1, 1, 1),), ()))
    yield "publish.metrics", lambda: setting.publish(metrics=measured)


def listing_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Filters, orders and tokens."""
    store, datasets = setting.store, setting.datasets
    for asked in ("filter", "order_by"):
        yield asked, lambda asked=asked: store.list_models(ListRequest(**{asked: text}))
    yield "filter.value", lambda: store.list_versions("flowers", ListRequest(filter=f'tags.key = "{text[:1000]}"'))
    listing = ListRequest().listing("models")
    yield "token", lambda: store.list_models(ListRequest(PageRequest(0, encode_token(listing, text))))
    yield "token of anything", lambda: store.list_models(ListRequest(PageRequest(0, text)))
    for of in (datasets.list, setting.jobs.list):
        for asked in ("filter", "order_by"):
            yield asked, lambda of=of, asked=asked: of(ListRequest(**{asked: text}))
    for condition in (f'digest = "{text[:1000]}"', f'parent = "{text[:1000]}"'):
        yield "datasets.filter", lambda condition=condition: datasets.list(ListRequest(filter=condition))
    for condition in (f'alias = "{text[:1000]}"', f'state = "{text[:1000]}"'):
        yield "jobs.filter", lambda condition=condition: setting.jobs.list(ListRequest(filter=condition))
    token = encode_token(ListRequest().listing("datasets"), text)
    yield "datasets.token", lambda: datasets.list(ListRequest(PageRequest(0, token)))


def dataset_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Datasets."""
    store, datasets = setting.store, setting.datasets
    blob = store.blobs.put([b"rows"]).digest
    made = Dataset(f"data-{next(_numbers)}", blob, (), 1, 1, {text: [{"label": text}]}, datetime.now(UTC))
    yield "register", lambda: datasets.register(made)
    yield "register.id", lambda: datasets.register(replace(made, id=text))
    for method in (datasets.get, datasets.living, datasets.check_free, datasets.delete, datasets.undelete):
        yield method.__name__, lambda method=method: method(text)


def job_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Jobs, and what is told of them."""
    jobs = setting.jobs
    yield "enqueue.model", lambda: jobs.enqueue(replace(SPEC, model_id=text))
    yield "enqueue.alias", lambda: jobs.enqueue(replace(SPEC, alias=text, recipe={text: text}))
    yield "enqueue.promote", lambda: jobs.enqueue(replace(SPEC, promote=PromotionSpec(text, text)))
    yield "enqueue.request", lambda: jobs.enqueue(SPEC, text)
    for read in (jobs.get, jobs.checkpoints, lambda job_id: jobs.events_after(job_id, 0)):
        yield "job", lambda read=read: read(text)
    yield "claim", lambda: jobs.claim(text)
    yield "append", lambda: jobs.append(setting.claim(), "message", {"text": text})
    yield "advance", lambda: jobs.advance(setting.claim(), JobState.FAILED, error=JobError(ErrorCode.INTERNAL, text))
    yield "release", lambda: jobs.release(setting.claim(), text)


def promotion_calls(setting: Setting, text: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a gate says, and what becomes of it."""
    promotions = setting.promotions
    yield "gated", lambda: setting.gated(replace(VERDICT, reason=text))
    yield "refused", lambda: setting.gated(replace(VERDICT, passes=False, reason=text))

    def shadowed(*, passes: bool) -> None:
        promotions.end_shadowing(setting.gated(VERDICT), replace(VERDICT, passes=passes, reason=text), 60)

    def loaded(state: PromotionState) -> None:
        promotions.end_loading(setting.gated(VERDICT, replace(PROMOTE, shadow_seconds=0)), state, text)

    for passes in (True, False):
        yield "end_shadowing", lambda passes=passes: shadowed(passes=passes)
    for state in (PromotionState.SERVING, PromotionState.REFUSED):
        yield "end_loading", lambda state=state: loaded(state)


@odd_texts
def test_every_text_is_kept_cut_or_refused(setting: Setting, text: str) -> None:
    """No method raises anything but the store's own errors, and what is kept can be read and sent on."""
    for _, call in calls(setting, text):
        with suppress(StoreError):
            call()
    everything = [
        setting.store.list_models(ListRequest(PageRequest(1000))).items,
        [setting.store.list_versions(each, ListRequest()).items for each in ("base", "flowers")],
        setting.store.list_alias_history(AliasName("flowers", "production"), PageRequest()).items,
        setting.datasets.list(ListRequest(PageRequest(1000))).items,
        jobs := setting.jobs.list(ListRequest(PageRequest(1000))).items,
        [setting.jobs.events_after(job.id, 0) for job in jobs],
    ]
    assert repr(everything)
    for each in texts_in(everything):
        assert each.encode()
    assert not [job for job in setting.promotions.under_way() if job.is_settled]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in records, at any depth."""
    if isinstance(value, str):
        yield value or "-"
    elif isinstance(value, dict):
        yield from texts_in([*value, *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from texts_in(each)
    elif hasattr(value, "__dataclass_fields__"):
        yield from texts_in([getattr(value, name) for name in value.__dataclass_fields__])


@odd_texts
def test_a_promotion_ends_whatever_is_said_of_it(setting: Setting, text: str) -> None:
    """Three services' failures do not fit into the alias' history: they are cut there, and the job has them all."""
    job_id = setting.gated(VERDICT, replace(PROMOTE, shadow_seconds=0))
    told = "; ".join([text] * 3)
    setting.promotions.end_loading(job_id, PromotionState.REFUSED, told)
    promotion = setting.jobs.get(job_id).promotion
    assert promotion is not None
    assert (promotion.state, promotion.is_open) == (PromotionState.REFUSED, False)
    moves = setting.store.list_alias_history(AliasName("flowers", "production"), PageRequest()).items
    assert moves[0].is_refused
    assert 0 < len(moves[0].reason) <= MAX_REASON


def test_a_column_refuses_what_it_cannot_keep_by_its_name(setting: Setting) -> None:
    """Whoever calls the store without a service is told which text it was."""
    for notes, field in ((Notes("a\x00"), "description"), (Notes("", {"key": "x" * 256}), "value")):
        with pytest.raises(InvalidInput) as caught:
            setting.store.update_model("flowers", lambda _, notes=notes: notes)
        assert [each.field for each in caught.value.violations] == [field]


@pytest.mark.parametrize("label", ["a\x1b[31m", "a\x00", "a\nb", "\u2028", "x" * 201])
def test_labels_that_cannot_be_shown_on_a_line_are_no_manifest(store: ModelStore, label: str) -> None:
    """Wherever it comes from; joiners, marks and spaces of any script may be."""
    made, _ = manifest(store, 1)
    with pytest.raises(InvalidManifest, match="labels"):
        Manifest.from_json(replace(made, task=Classification(("a", label))).to_json())
    kept = replace(made, task=Classification(("\u0645\u06cc\u200c\u062e", "👩\u200d👧", "a\u00a0b")))
    assert Manifest.from_json(kept.to_json()) == kept


def test_numbers_that_are_none_do_not_end_a_job(setting: Setting) -> None:
    """Training that diverges reports NaN, which PostgreSQL's JSON does not have."""
    claim = setting.claim()
    setting.jobs.append(claim, "progress", {"phase": "training", "loss": float("nan")})
    assert setting.jobs.events_after(claim.job_id, 0)[-1].payload == {"phase": "training", "loss": None}
