"""Requests that are run on a shadow too: what is compared and counted, and that no request is any the worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as open_pb
from torch import nn

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.queue_entry import Part
from inference_service.batching.scheduler import Scheduler
from inference_service.execution.work import Answer, Output, Work
from inference_service.lifecycle.lease import Lease, Shadow
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_version import ServedVersion
from inference_service.lifecycle.traffic import ShadowCounts
from inference_service.models.precision import Precision
from inference_service.models.resident import ResidentVersion, Stage, StageKey
from inference_service.pipeline.decoder import Decoder
from inference_service.pipeline.shadow_traffic import ShadowTraffic
from model_store.modalities import Batch, Limits, Rows, X
from model_store.modalities.spec import Numbers as Values
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.names import AliasName, VersionName
from model_store.records.aliases import Share, Traffic
from model_store.tasks import Classification, MultiLabel, Regression, Task
from tests.answers import alike
from tests.inference_service.inferring import ask_numbers, rows, serving_models
from tests.inference_service.loops import on_a_loop
from tests.inference_service.making import Recipe, Registry, mlp, open_registry, photo
from tests.inference_service.managing import version
from tests.inference_service.running import TIMEOUT, RunningService, refused, running_service, until

ALL = 100.0


def shadow_of(service: RunningService, model_id: str = "flowers") -> pb.ServedShadow:
    """Ask what the shadow of the one alias was counted doing."""
    (alias,) = service.state(model_id).aliases
    return alias.shadow


def answers(service: RunningService, model_id: str) -> str:
    """Return the version that the one alias is answered from; empty where there is none yet."""
    return next((each.version for each in service.state(model_id).aliases), "")


def softmax(model_seed: int, x: Values) -> Values:
    """Run a model of numbers by hand."""
    with torch.inference_mode():
        scores: Values = mlp(seed=model_seed).chain(Batch.of(torch.from_numpy(x))).softmax(dim=-1).numpy()
    return scores


@pytest.mark.parametrize("wanted", [[], ["LOGITS"]], ids=["scores", "logits"])
def test_what_both_say_is_compared(tmp_path: Path, wanted: list[str]) -> None:
    """Rows, those with the same best label, and the largest difference; the shadow has no request to its name."""
    output = open_pb.ModelInferRequest.InferRequestedOutputTensor
    with serving_models(tmp_path) as service:
        registry = open_registry(tmp_path)
        second = registry.publish_mlp(mlp(seed=1)).name
        target = AliasName("numbers", "production")
        registry.store.set_alias(target, VersionName("numbers", 1), Traffic((), Share(2, ALL)))
        service.running.await_state(second, pb.VERSION_STATE_READY)
        until(lambda: answers(service.running, "numbers") == "models/numbers/versions/1")
        asked = [rows(num_rows=number, seed=number) for number in (1, 2, 3)]
        for x in asked:
            answer = service.stub.ModelInfer(
                ask_numbers(x, outputs=[output(name=name) for name in wanted]), timeout=TIMEOUT
            )
            assert answer.model_version == "1"
        until(lambda: shadow_of(service.running, "numbers").compared_count == 3)
        x = np.concatenate(asked)
        right, found = softmax(0, x), softmax(1, x)
        shadow = shadow_of(service.running, "numbers")
        assert (shadow.version, shadow.row_count) == (str(second), 6)
        assert shadow.agreeing_row_count == (right.argmax(axis=1) == found.argmax(axis=1)).sum()
        assert shadow.max_score_difference == pytest.approx(np.abs(right - found).max(), abs=1e-6)
        assert shadow.failed_count + shadow.dropped_count + shadow.skipped_count == 0
        statistics = service.stub.ModelStatistics(open_pb.ModelStatisticsRequest(name="numbers")).model_stats
        counted = {each.version: (each.inference_stats.success.count, each.inference_count) for each in statistics}
        assert counted == {"1": (3, 6), "2": (0, 6)}


def test_a_shadow_that_fails_fails_no_request(tmp_path: Path, registry: Registry) -> None:
    """It is counted; a request for embeddings is not run. Photos are prepared anew for a shadow of another size."""
    registry.publish(Recipe(backbone=1, head=1))
    registry.publish(Recipe(backbone=2, head=2), alias=None)
    registry.publish(Recipe(backbone=1, head=3, spec=replace(Recipe().spec, crop_size=56)), alias=None)
    production, first = AliasName("flowers", "production"), VersionName("flowers", 1)
    registry.store.set_alias(production, first, Traffic((), Share(2, ALL)))
    with running_service(tmp_path) as service:
        service.await_serving()
        with service.server._manager.lease(VersionName("flowers", 2)) as shadow:
            shadow.backbone[0].module.register_forward_hook(_fail)
        right = service.predict("models/flowers", photo(1))
        until(lambda: shadow_of(service).failed_count == 1)
        assert service.embed("models/flowers", photo(1)).embeddings
        until(lambda: shadow_of(service).skipped_count == 1)
        registry.store.set_alias(production, first, Traffic((), Share(3, ALL)))
        until(lambda: shadow_of(service).version.endswith("3"))
        assert alike(service.predict("models/flowers", photo(1)), right)
        until(lambda: shadow_of(service).compared_count == 1)
        assert shadow_of(service).failed_count + shadow_of(service).skipped_count == 0


def test_a_canary_answers_its_share_over_the_wire(tmp_path: Path, registry: Registry) -> None:
    """By the request's key, in both protocols; the state tells the shares."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2), alias=None)
    target = AliasName("flowers", "production")
    registry.store.set_alias(target, VersionName("flowers", 1), Traffic((Share(2, 50.0),)))
    with running_service(tmp_path) as service:
        service.await_serving()
        (alias,) = service.state().aliases
        assert [(each.version, each.percent) for each in alias.canaries] == [("models/flowers/versions/2", 50.0)]
        assert not alias.HasField("shadow")
        image = pb.Example(file=photo(1))
        found: dict[str, set[str]] = {}
        for key in [f"user {number}" for number in range(20)] * 2:
            predict = pb.PredictRequest(name=str(target), examples=[image], routing_key=key)
            embed = pb.EmbedRequest(name="models/flowers", examples=[image], routing_key=key)
            found.setdefault(key, set()).update(
                {service.stub.Predict(predict).version, service.stub.Embed(embed).version}
            )
        assert all(len(versions) == 1 for versions in found.values())
        assert len(set.union(*found.values())) == 2


def test_the_open_protocol_takes_the_key_as_a_parameter(tmp_path: Path) -> None:
    """A text; anything else is refused."""
    text = open_pb.InferParameter
    with serving_models(tmp_path) as service:
        registry = open_registry(tmp_path)
        registry.publish_mlp(mlp(seed=1))
        target = AliasName("numbers", "production")
        registry.store.set_alias(target, VersionName("numbers", 1), Traffic((Share(2, 50.0),)))
        service.running.await_state(VersionName("numbers", 2), pb.VERSION_STATE_READY)
        until(lambda: answers(service.running, "numbers") == "models/numbers/versions/1")
        found: dict[str, set[str]] = {}
        for key in [f"user {number}" for number in range(20)] * 2:
            request = ask_numbers(rows(), parameters={"routing_key": text(string_param=key)})
            found.setdefault(key, set()).add(service.stub.ModelInfer(request, timeout=TIMEOUT).model_version)
        assert all(len(versions) == 1 for versions in found.values())
        assert set.union(*found.values()) == {"1", "2"}
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "routing_key"):
            service.stub.ModelInfer(ask_numbers(rows(), parameters={"routing_key": text(int64_param=1)}))


class Setup:
    """Shadows on a real queue, in front of a device that gives the same scores for every row."""

    def __init__(self, thread: DeviceThreads, decode_thread: ThreadPoolExecutor) -> None:
        self.scores: Sequence[float] = (0.1, 0.9)
        self.counts = ShadowCounts()
        self.scheduler: Scheduler[Work, Answer] = Scheduler(self._run, thread, {"values": CostLimits(8, 64)})
        self.shadow_traffic = ShadowTraffic(self.scheduler, Decoder(decode_thread, {"values": Limits(64, 64, 8, 64)}))

    def _run(self, parts: Sequence[Part[Work]], _: object = None) -> list[Answer]:
        return [{Output.SCORES: np.array([self.scores] * part.num_rows, np.float32)} for part in parts]

    async def compare(
        self, scores: Sequence[float], names: Sequence[str], num_rows: int = 1, *, task: Kind = Classification
    ) -> ShadowCounts:
        """Shadow a request that got these numbers for `a` and `b`, on a version of other labels or targets."""
        return await self.compare_with(scores, resident(names, task), num_rows, task=task)

    async def compare_with(
        self, scores: Sequence[float], other: ResidentVersion, num_rows: int = 1, *, task: Kind = Classification
    ) -> ShadowCounts:
        """Shadow a request that got these numbers for `a` and `b`, on another version."""
        served = ServedVersion(version(2), "digest", state=VersionState.READY, resident=other)
        shadow = Shadow(lambda: Lease(served, lambda _: None), self.counts)
        answer = {Output.SCORES: np.array([scores] * num_rows, np.float32)}
        given = Rows({X: np.zeros((num_rows, 3), np.float32)}, num_rows)
        self.shadow_traffic.begin(shadow, resident(("a", "b"), task), given, given, answer)
        while self.shadow_traffic._running:
            await asyncio.wait(self.shadow_traffic._running)
        assert served.num_leases == 0
        return self.counts


Kind = Callable[[tuple[str, ...]], Task]


def resident(names: Sequence[str], task: Kind = Classification, size: int = 3) -> ResidentVersion:
    """A version of rows of numbers with these labels or targets, whose one stage is its head."""
    stage = Stage(StageKey("mlp", "{}", "", "head", "digest"), Precision.FLOAT32, nn.Identity(), 0)
    return ResidentVersion(version(1), "mlp", 3, ValuesInputSpec(size), task(tuple(names)), (), stage)


@asynccontextmanager
async def shadowing() -> AsyncIterator[Setup]:
    """Run the queue while the block runs."""
    with DeviceThreads(1) as thread, ThreadPoolExecutor(1) as decode_thread:
        setup = Setup(thread, decode_thread)
        running = asyncio.create_task(setup.scheduler.run())
        try:
            yield setup
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@on_a_loop
async def test_labels_are_compared_by_their_names() -> None:
    """In whatever order; one that a version does not have scores nothing with it."""
    async with shadowing() as setup:
        counts = await setup.compare((0.1, 0.9), ("a", "b"))
        assert (counts.num_compared, counts.num_agreeing_rows, counts.max_score_difference) == (1, 1, 0.0)
        counts = await setup.compare((0.9, 0.1), ("b", "a"), num_rows=2)
        assert (counts.num_rows, counts.num_agreeing_rows, counts.max_score_difference) == (3, 3, 0.0)
        counts = await setup.compare((0.2, 0.8), ("a", "c"))
        assert (counts.num_compared, counts.num_agreeing_rows) == (3, 3)
        assert counts.max_score_difference == pytest.approx(0.9)


@on_a_loop
async def test_versions_that_standardise_otherwise_are_compared() -> None:
    """They take the same rows."""
    spec = ValuesInputSpec(3, standardise=True, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0))
    async with shadowing() as setup:
        counts = await setup.compare_with((0.1, 0.9), replace(resident(("a", "b")), input_spec=spec))
        assert (counts.num_compared, counts.num_agreeing_rows) == (1, 1)


@on_a_loop
async def test_sets_of_labels_are_compared() -> None:
    """Two rows agree where the same labels have a half or more, whichever is the best one."""
    async with shadowing() as setup:
        setup.scores = (0.6, 0.7)
        counts = await setup.compare((0.9, 0.5), ("a", "b"), task=MultiLabel)
        assert (counts.num_agreeing_rows, counts.max_score_difference) == (1, pytest.approx(0.3))
        assert (await setup.compare((0.9, 0.4), ("a", "b"), task=MultiLabel)).num_agreeing_rows == 1


@on_a_loop
async def test_values_differ_in_their_own_unit() -> None:
    """Those of one row too; a version of other targets is not compared."""
    async with shadowing() as setup:
        setup.scores = (100.0, 7.0)
        counts = await setup.compare((90.0, 7.5), ("a", "b"), task=Regression)
        assert (counts.num_rows, counts.num_agreeing_rows, counts.max_score_difference) == (1, 1, 10.0)
        counts = await setup.compare((7.0, 100.0), ("b", "a"), task=Regression)
        assert (counts.num_rows, counts.max_score_difference) == (2, 10.0)
        counts = await setup.compare((1.0, 2.0), ("a", "c"), task=Regression)
        assert (counts.num_compared, counts.num_skipped) == (2, 1)


@on_a_loop
async def test_what_has_another_task_or_rows_of_another_input_are_not_compared() -> None:
    """They are counted as skipped, and not run."""
    async with shadowing() as setup:
        counts = await setup.compare_with((0.1, 0.9), resident(("a", "b"), MultiLabel))
        assert (counts.num_compared, counts.num_skipped) == (0, 1)
        counts = await setup.compare_with((0.1, 0.9), resident(("a", "b"), size=4))
        assert (counts.num_compared, counts.num_skipped) == (0, 2)


@on_a_loop
async def test_what_is_too_much_is_dropped() -> None:
    """More rows at once than a small part of the queue, and any while the queue is over half full."""
    async with shadowing() as setup:
        assert (await setup.compare((0.1, 0.9), ("a", "b"), num_rows=5)).num_dropped == 1
        with setup.scheduler.admit("values", resident(("a",)), 33, "others"):
            assert (await setup.compare((0.1, 0.9), ("a", "b"))).num_dropped == 2
        assert (await setup.compare((0.1, 0.9), ("a", "b"))).num_compared == 1


def _fail(*_: object) -> None:
    raise ZeroDivisionError("secret")
