"""The executor: mixed batches equal each chain alone, and shared stages run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.row_threads import RowThreads
from inference_service.execution.work import Answer, Output, Work
from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import VersionStatistics
from model_store.blobs.local import LocalBlobs
from model_store.calibration import batch_of
from model_store.modalities import Batch, Rows, X, prepared
from model_store.modalities.image.spec import PIXELS, ImageInputSpec
from model_store.names import VersionName
from tests.inference_service.making import SPEC, Recipe, expected, mlp, mlp_manifest, photo, pixels
from tests.model_store.text_models import text_base, text_spec

Load = Callable[..., ResidentVersion]
SCORES, EMBEDDING = frozenset({Output.SCORES}), frozenset({Output.EMBEDDING})
BOTH = SCORES | EMBEDDING


def rows(*seeds: int, spec: ImageInputSpec | None = None) -> Rows:
    """Return the rows of these photos."""
    return Rows({PIXELS: np.stack([pixels(photo(seed), spec or Recipe().spec) for seed in seeds])}, len(seeds))


def whole(version: ResidentVersion, made: Rows, outputs: frozenset[Output]) -> Part[Work]:
    """Ask for all rows of a request."""
    return Part(Work(version, made, outputs), 0, len(made))


def normalised(made: Rows) -> Rows:
    """Return rows as a caller sends them who has normalised them."""
    x = SPEC.to_input(batch_of(made, torch.device("cpu"))).x
    return Rows({X: x.contiguous().numpy()}, len(made))


def check(answer: Answer, recipe: Recipe, made: Rows, outputs: frozenset[Output]) -> None:
    """Compare an answer with the one chain, run by hand over the one request."""
    assert set(answer) == outputs
    scores, embeddings = expected(recipe, list(made.arrays[PIXELS]))
    for output, values in ((Output.SCORES, scores), (Output.EMBEDDING, embeddings)):
        if output in outputs:
            np.testing.assert_allclose(answer[output], values, rtol=0, atol=1e-5)


def count_runs(*versions: ResidentVersion) -> Counter[str]:
    """Count the runs of each stage and the rows that it saw from now on."""
    runs: Counter[str] = Counter()
    for stage in {stage for version in versions for stage in version.stages}:
        name = stage.key.name
        stage.module.register_forward_hook(
            lambda _module, _x, y, name=name: runs.update({name: 1, f"{name} rows": len(y)})
        )
    return runs


def test_two_probes_on_one_backbone_run_it_once(load: Load, executor: Executor) -> None:
    """The backbone sees all rows in one run, and each head only its own."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    runs = count_runs(one, two)
    some, more = rows(1, 2), rows(3)
    answers = executor.run([whole(one, some, SCORES), whole(two, more, SCORES), whole(one, more, SCORES)])
    check(answers[0], Recipe(head=1), some, SCORES)
    check(answers[1], Recipe(head=2), more, SCORES)
    check(answers[2], Recipe(head=1), more, SCORES)
    assert all((runs[stage.key.name], runs[f"{stage.key.name} rows"]) == (1, 4) for stage in one.backbone)
    assert (runs["head"], runs["head rows"]) == (2, 4)


def test_rows_that_are_shared_among_cores_get_the_same_answers(load: Load) -> None:
    """On a backbone that two versions share, and on one beside it."""
    recipes = [Recipe(head=1), Recipe(head=2), Recipe(backbone=1, head=1)]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    made = [rows(1, 2, 3), rows(4), rows(5, 6)]
    parts = [whole(version, each, BOTH) for version, each in zip(versions, made, strict=True)]
    with (
        closing(RowThreads(2)) as threads,
        DeviceThreads(2) as of_two,
    ):
        executor = Executor(torch.device("cpu"), threads)
        answers = of_two.submit(executor.run, parts).result()
    for answer, recipe, each in zip(answers, recipes, made, strict=True):
        check(answer, recipe, each, BOTH)


def test_two_batches_run_at_once(load: Load) -> None:
    """From two threads, each with its own answers; every one says when the next may begin."""
    recipes = [Recipe(head=1), Recipe(backbone=1, head=1)]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    made = rows(*range(8))
    told: list[int] = []
    with closing(RowThreads(2)) as threads, DeviceThreads(2, num_batches=2) as of_two:
        executor = Executor(torch.device("cpu"), threads)
        running = [
            of_two.submit_batch(executor.run, [whole(versions[number % 2], made, BOTH)], partial(told.append, number))
            for number in range(12)
        ]
        for number, each in enumerate(running):
            check(each.result()[0], recipes[number % 2], made, BOTH)
    assert sorted(told) == list(range(12))


def test_many_probes_get_their_own_answers(load: Load, executor: Executor) -> None:
    """With as many labels or others, and with one row or two each; the backbone runs once for all of them."""
    recipes = [Recipe(head=number) for number in range(7)] + [Recipe(head=7, labels=("yes", "no"))]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    made = [rows(seed) for seed in range(5)] + [rows(5, 6), rows(7, 8), rows(9)]
    runs = count_runs(*versions)
    answers = executor.run([whole(version, each, BOTH) for version, each in zip(versions, made, strict=True)])
    for answer, recipe, each in zip(answers, recipes, made, strict=True):
        check(answer, recipe, each, BOTH)
    assert (runs["stem"], runs["stem rows"]) == (1, 10)
    assert (runs["head"], runs["head rows"]) == (8, 10)


def test_a_batch_splits_only_where_the_stages_part(load: Load, executor: Executor) -> None:
    """Base, probe, and a model with nothing in common, asked for scores, embeddings and both, in mixed order."""
    base, probe, other = load(Recipe(head=None), 1), load(Recipe(), 2), load(Recipe(backbone=5), 3)
    runs = count_runs(base, probe, other)
    asked = [
        (other, Recipe(backbone=5), rows(1), BOTH),
        (base, Recipe(head=None), rows(2, 3), EMBEDDING),
        (probe, Recipe(), rows(4), SCORES),
        (other, Recipe(backbone=5), rows(5), EMBEDDING),
        (probe, Recipe(), rows(6, 7), BOTH),
    ]
    answers = executor.run([whole(version, made, outputs) for version, _, made, outputs in asked])
    for answer, (_, recipe, made, outputs) in zip(answers, asked, strict=True):
        check(answer, recipe, made, outputs)
    assert runs["stem"] == 2
    assert (runs["head"], runs["head rows"]) == (2, 4)


def test_normalised_rows_run_with_pixels(load: Load, executor: Executor) -> None:
    """A batch may mix both forms of input, for two models on one backbone, which still runs once."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    runs = count_runs(one, two)
    some, more = rows(1, 2), rows(3)
    prepared = {id(made): normalised(made) for made in (some, more)}
    asked = [(one, 1, some, False), (two, 2, more, True), (one, 1, more, True), (two, 2, some, False)]
    parts = [
        whole(version, prepared[id(made)] if is_prepared else made, BOTH) for version, _, made, is_prepared in asked
    ]
    for answer, (_, head, made, _) in zip(executor.run(parts), asked, strict=True):
        check(answer, Recipe(head=head), made, BOTH)
    assert (runs["stem"], runs["stem rows"]) == (1, 6)


def test_logits_are_what_the_scores_are_made_of(load: Load, executor: Executor) -> None:
    """All three outputs of one run."""
    made = rows(1, 2)
    version = load(Recipe())
    runs = count_runs(version)
    (answer,) = executor.run([whole(version, made, frozenset(Output))])
    check({output: answer[output] for output in BOTH}, Recipe(), made, BOTH)
    logits = torch.from_numpy(answer[Output.LOGITS])
    np.testing.assert_allclose(logits.softmax(dim=-1), answer[Output.SCORES], atol=1e-6)
    assert logits.std() > 1e-3
    assert runs["head"] == 1


def test_scores_are_of_logits_divided_by_the_temperature(load: Load, executor: Executor) -> None:
    """Alone, and in one batch with versions of other temperatures, on the same head and on another one."""
    recipes = [Recipe(temperature=2.0), Recipe(), Recipe(temperature=0.25), Recipe(head=1, temperature=4.0)]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    assert [version.temperature for version in versions] == [2.0, 1.0, 0.25, 4.0]
    assert versions[0].head is versions[1].head, "the temperature is none of the stage's"
    made = [rows(1, 2), rows(3), rows(4, 5, 6), rows(7)]
    asked = [whole(version, each, frozenset(Output)) for version, each in zip(versions, made, strict=True)]
    alone = [executor.run([part])[0] for part in asked]
    for answers in (alone, executor.run(asked), executor.run(asked[::-1])[::-1]):
        for answer, recipe, each in zip(answers, recipes, made, strict=True):
            check({output: answer[output] for output in BOTH}, recipe, each, BOTH)
            divided = torch.from_numpy(answer[Output.LOGITS]) / recipe.temperature
            np.testing.assert_allclose(divided.softmax(dim=-1), answer[Output.SCORES], atol=1e-6)
    assert not np.allclose(
        alone[0][Output.SCORES], torch.from_numpy(alone[0][Output.LOGITS]).softmax(dim=-1), atol=1e-3
    )


def test_rows_of_numbers_equal_a_plain_network(
    loader: Loader, blobs: LocalBlobs, executor: Executor, load: Load
) -> None:
    """An MLP beside a network of images, in one batch."""
    base = mlp()
    numbers = loader.load(VersionName("numbers", 1), blobs.put([mlp_manifest(blobs, base).to_json()]).digest)
    image, made = load(Recipe()), rows(1)
    x = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    answers = executor.run([whole(numbers, Rows({X: x}, 4), frozenset(Output)), whole(image, made, SCORES)])
    with torch.inference_mode():
        logits, embedding = base.chain(Batch.of(torch.from_numpy(x))), base.chain.embed(Batch.of(torch.from_numpy(x)))
    np.testing.assert_allclose(answers[0][Output.LOGITS], logits, atol=1e-6)
    np.testing.assert_allclose(answers[0][Output.SCORES], logits.softmax(dim=-1), atol=1e-6)
    np.testing.assert_allclose(answers[0][Output.EMBEDDING], embedding, atol=1e-6)
    check(answers[1], Recipe(), made, SCORES)


def test_what_ran_is_counted(load: Load, executor: Executor) -> None:
    """Batches of each version and times of each request; neither the warm-up nor a batch that failed."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    assert one.statistics == VersionStatistics()
    work = Work(one, rows(1, 2, 3), SCORES)
    executor.run([Part(work, 0, 2), whole(two, rows(4), SCORES)])
    executor.run([Part(work, 2, 3)])
    counted = one.statistics
    assert counted.num_batches == 2
    assert {size: batches.count for size, batches in counted.batches.items()} == {1: 1, 2: 1}
    assert work.times.queue_ns > 0
    assert work.times.device_ns == sum(batches.ns for batches in counted.batches.values()) > 0
    assert two.statistics.num_batches == 1
    with pytest.raises(RuntimeError):
        executor.run([whole(one, Rows({PIXELS: np.zeros((1, 4, 4, 3), np.uint8)}, 1), SCORES)])
    assert counted.num_batches == 2


def test_embeddings_alone_do_not_run_the_head(load: Load, executor: Executor) -> None:
    """What is not asked for is not computed."""
    version = load(Recipe())
    runs = count_runs(version)
    executor.run([whole(version, rows(1), EMBEDDING)])
    assert (runs["stem"], runs["head"]) == (1, 0)


def test_inputs_of_other_forms_run_apart(load: Load, executor: Executor) -> None:
    """Another crop or another mean is another input, even where all stages are shared."""
    larger = ImageInputSpec(resize_size=96, crop_size=96)
    darker = ImageInputSpec(resize_size=72, crop_size=64, mean=(0.6, 0.6, 0.6))
    recipes = [Recipe(), Recipe(spec=larger), Recipe(spec=darker)]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    runs = count_runs(*versions)
    made = [rows(1, spec=recipe.spec) for recipe in recipes]
    answers = executor.run([whole(version, each, BOTH) for version, each in zip(versions, made, strict=True)])
    for answer, recipe, each in zip(answers, recipes, made, strict=True):
        check(answer, recipe, each, BOTH)
    assert runs["stem"] == 3


def test_texts_that_are_cut_to_other_lengths_run_together(
    loader: Loader, blobs: LocalBlobs, executor: Executor
) -> None:
    """Of two probes of one encoder, one for shorter texts: the encoder runs once, and a text is cut as each says."""
    base = text_base(labels=("farm", "sea"))
    blobs.put(base.files)
    manifest = mlp_manifest(blobs, base)
    specs = [text_spec(32), text_spec(32).cut(8)]
    versions = []
    for number, spec in enumerate(specs, start=1):
        put = blobs.put([replace(manifest, input_spec=spec.to_json()).to_json()])
        versions.append(loader.load(VersionName("topics", number), put.digest))
    texts = [prepared(spec, ["ships sail over the sea"], 100) for spec in specs]
    runs = count_runs(*versions)
    answers = executor.run([whole(*pair, SCORES) for pair in zip(versions, texts, strict=True)])
    assert all((runs[stage.key.name], runs[f"{stage.key.name} rows"]) == (1, 2) for stage in versions[0].stages)
    np.testing.assert_allclose(answers[0][Output.SCORES], answers[1][Output.SCORES], rtol=0, atol=1e-6)
    long = "ships sail over the sea wind in a field"
    assert [prepared(spec, [long], 100).arrays["ids"].shape[1] for spec in specs] == [16, 8]


def test_a_part_answers_its_own_rows(load: Load, executor: Executor) -> None:
    """The rows of a request that was split across batches."""
    version, made = load(Recipe()), rows(1, 2, 3, 4)
    work = Work(version, made, SCORES)
    first, second = executor.run([Part(work, 0, 1)]), executor.run([Part(work, 1, 4)])
    check(first[0], Recipe(), made[:1], SCORES)
    check(second[0], Recipe(), made[1:], SCORES)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_the_order_of_the_parts_does_not_matter(load: Load, executor: Executor, order: list[int]) -> None:
    """Each part gets its own answer, wherever it stands in the batch."""
    recipes = [Recipe(backbone=b, head=h) for b in (0, 1) for h in (0, 1)]
    versions = [load(recipe, number) for number, recipe in enumerate(recipes, start=1)]
    made = [rows(*range(10 * i, 10 * i + 1 + i)) for i in range(4)]
    answers = executor.run([whole(versions[i], made[i], BOTH) for i in order])
    for i, answer in zip(order, answers, strict=True):
        check(answer, recipes[i], made[i], BOTH)
