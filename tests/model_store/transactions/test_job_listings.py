"""The listings of datasets and training jobs: filters and orders over real rows, in pages of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from model_store.database.engine import Database
from model_store.database.paging import Page, PageRequest
from model_store.errors import Conflict, InvalidInput
from model_store.names import VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import JobSpec, JobUrgency
from model_store.records.promotion import PromotionSpec, PromotionState, Verdict
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from model_store.transactions.promotions import Gated, PromotionStore
from tests.model_store.making import publication, registered_dataset

Item = TypeVar("Item")
PROMOTE = PromotionSpec("production")
SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None)
SIZES = (0, 1, 2, 3)


@pytest.fixture
def datasets(database: Database, store: ModelStore) -> DatasetStore:
    """Four datasets: `c` was appended to `b`, and `d` was deleted."""
    datasets = DatasetStore(database, store.blobs)
    for number, dataset_id in enumerate("abcd", 1):
        digest = store.blobs.put([f"rows {number}".encode()]).digest
        parent = "b" if dataset_id == "c" else None
        summary = {"modality": "values", "task": "regression"} if dataset_id == "b" else {"modality": "image"}
        made = Dataset(dataset_id, digest, (), 10 * number, 500 - number, summary, datetime.now(UTC), parent)
        datasets.register(made)
    datasets.delete("d")
    return datasets


OF_DATASETS = [
    ("", "", "abc"),
    ("", "name desc", "cba"),
    ("", "create_time", "abc"),
    ("", "create_time desc", "cba"),
    ("", "example_count desc", "cba"),
    ("", "size_bytes", "cba"),
    ("state = DELETED", "", "d"),
    ("state = ACTIVE AND example_count > 10", "", "bc"),
    ("example_count = 20", "", "b"),
    ("size_bytes >= 498", "size_bytes", "ba"),
    ("parent = datasets/b", "", "c"),
    ("modality = image", "", "ac"),
    ("modality != image AND task = REGRESSION", "", "b"),
    ("task != REGRESSION", "", "ac"),
    ("parent != datasets/b", "", "ab"),
    (f"digest = {'0' * 64}", "", ""),
    ('create_time > "2020-01-01T00:00:00Z"', "", "abc"),
    ('create_time < "2020-01-01T00:00:00Z"', "create_time", ""),
]


def test_datasets_are_filtered_and_ordered(datasets: DatasetStore) -> None:
    """Each condition finds what it says; a dataset without a parent has another parent than any."""
    for filter_, order_by, found in OF_DATASETS:
        for size in SIZES:
            assert "".join(each.id for each in every(datasets.list, size, filter_, order_by)) == found, filter_


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> tuple[JobStore, dict[str, str]]:
    """Five jobs and their names by id: queued, cancelled, promoted, refused, and one from another base."""
    for number in (1, 2):
        store.publish(publication(store, "base", (number,)))
    for dataset_id in ("d", "e"):
        registered_dataset(store, dataset_id)
    jobs, names = JobStore(database), {}

    def ran(name: str, verdict: Verdict) -> None:
        names[jobs.enqueue(replace(SPEC, promote=PROMOTE, urgency=JobUrgency(priority=9))).id] = name
        claim = jobs.claim("runner")
        assert claim is not None
        jobs.advance(claim, JobState.RUNNING)
        gated = Gated(PROMOTE, verdict, 60)
        store.publish(publication(store, seeds=(len(names), 7), claim=claim, gated=gated))

    ran("promoted", Verdict(True, "good", 0.9))
    ran("refused", Verdict(False, "bad", 0.1, incumbent=1))
    names[jobs.enqueue(replace(SPEC, alias="staging")).id] = "queued"
    names[jobs.enqueue(replace(SPEC, urgency=JobUrgency(priority=5))).id] = "cancelled"
    jobs.request_action(next(reversed(names)), DesiredAction.CANCEL)
    names[jobs.enqueue(replace(SPEC, base=VersionName("base", 2), model_id="roses", dataset_id="e")).id] = "other"
    return jobs, names


OF_JOBS = [
    ("", "", ["other", "cancelled", "queued", "refused", "promoted"]),
    ("", "create_time", ["promoted", "refused", "queued", "cancelled", "other"]),
    ("", "priority desc", ["refused", "promoted", "cancelled", "other", "queued"]),
    ("state = QUEUED", "", ["other", "queued"]),
    ("state != QUEUED", "create_time", ["promoted", "refused", "cancelled"]),
    ("state = SUCCEEDED AND promotion.state = REFUSED", "", ["refused"]),
    ("promotion.state != REFUSED", "create_time", ["promoted", "queued", "cancelled", "other"]),
    ("model = models/roses", "", ["other"]),
    ("base = models/base/versions/2", "", ["other"]),
    ("base != models/base/versions/2", "priority", ["queued", "cancelled", "promoted", "refused"]),
    ("dataset = datasets/e", "", ["other"]),
    ("alias = models/flowers/aliases/staging", "", ["queued"]),
    ("alias = models/flowers/aliases/production", "create_time", ["promoted", "refused"]),
    ("alias != models/flowers/aliases/production", "create_time", ["queued", "cancelled", "other"]),
    ("priority >= 5", "priority", ["cancelled", "promoted", "refused"]),
    ('end_time > "2020-01-01T00:00:00Z"', "create_time", ["promoted", "refused", "cancelled"]),
    ('create_time < "2020-01-01T00:00:00Z"', "", []),
]


def test_jobs_are_filtered_and_ordered(jobs: tuple[JobStore, dict[str, str]]) -> None:
    """Each condition finds what it says; a job without a promotion is in another state than any."""
    queue, names = jobs
    for filter_, order_by, found in OF_JOBS:
        for size in SIZES:
            assert [names[job.id] for job in every(queue.list, size, filter_, order_by)] == found, filter_


@pytest.mark.parametrize(
    "filter_",
    [
        "state = GONE",
        "state > QUEUED",
        "base = base",
        "alias : models/flowers/aliases/production",
        "alias = production",
        "priority > high",
        "owner = me",
        "promotion = x",
    ],
)
def test_what_cannot_be_asked_of_jobs_is_refused(database: Database, filter_: str) -> None:
    """The field of the request is named."""
    with pytest.raises(InvalidInput, match="filter"):
        JobStore(database).list(ListRequest(filter=filter_))


def test_a_token_belongs_to_its_filter(jobs: tuple[JobStore, dict[str, str]], store: ModelStore) -> None:
    """A page of another question is refused, for jobs and for datasets."""
    for call in (jobs[0].list, DatasetStore(store._database, store.blobs).list):
        token = call(ListRequest(PageRequest(1))).next_token
        with pytest.raises(InvalidInput, match="page_token"):
            call(ListRequest(PageRequest(1, token), filter='create_time > "2020-01-01T00:00:00Z"'))


def test_a_dataset_is_deleted_only_as_it_was_read(datasets: DatasetStore) -> None:
    """Deleting and undeleting change its etag; another one is a conflict and changes nothing."""
    read = datasets.get("a")
    with pytest.raises(Conflict, match=f"datasets/a was changed meanwhile .its etag is {read.etag}"):
        datasets.delete("a", etag="0")
    assert datasets.get("a") == read
    deleted = datasets.delete("a", etag=read.etag)
    back = datasets.undelete("a")
    assert len({read.etag, deleted.etag, back.etag}) == 3
    with pytest.raises(Conflict):
        datasets.delete("a", etag=read.etag)


def test_a_job_is_stopped_only_as_it_was_read(database: Database, store: ModelStore) -> None:
    """An action with the etag of an earlier state is a conflict; progress alone changes no etag."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    jobs = JobStore(database)
    queued = jobs.enqueue(SPEC)
    claim = jobs.claim("runner")
    assert claim is not None
    for action in DesiredAction:
        with pytest.raises(Conflict, match="was changed meanwhile"):
            jobs.request_action(queued.id, action, etag=queued.etag)
    preparing = jobs.get(queued.id)
    jobs.append(claim, "progress", {"epoch": 1})
    pausing = jobs.request_action(queued.id, DesiredAction.PAUSE, etag=preparing.etag)
    assert (pausing.state, pausing.etag == preparing.etag) == ("pausing", False)


def test_a_promotion_that_goes_on_changes_the_etag_of_its_job(
    jobs: tuple[JobStore, dict[str, str]], database: Database
) -> None:
    """It is part of the job."""
    queue, names = jobs
    promoted = next(job for job in every(queue.list, 0, "", "") if names[job.id] == "promoted")
    PromotionStore(database).end_loading(promoted.id, PromotionState.SERVING, "served")
    assert queue.get(promoted.id).etag != promoted.etag


def every(call: Callable[[ListRequest], Page[Item]], size: int, filter_: str, order_by: str) -> Iterator[Item]:
    """Yield what a listing finds, page by page."""
    token = ""
    while True:
        page = call(ListRequest(PageRequest(size, token), filter_, order_by))
        yield from page.items
        if not (token := page.next_token):
            return
