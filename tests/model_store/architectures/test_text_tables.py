"""Rows with a text: an encoder's own stages, the preprocessing of a table, and a head over the features of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from model_store.architectures import (
    HEAD,
    Chain,
    Head,
    borrowed_stages,
    build,
    check_stage_tensors,
    initialise_head,
    stage_names,
)
from model_store.architectures.table_stages import Impute, Select, Standardise
from model_store.bases.tables import load_table, load_table_text
from model_store.bases.text.random import load_random_gru
from model_store.calibration import batch_of
from model_store.errors import InvalidManifest
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Batch, prepared
from model_store.tasks import Classification
from tests.model_store.text_models import arguments as encoder_arguments
from tests.model_store.text_models import text_spec
from tests.model_store.text_tables import NUM_FEATURES, ROWS, SPEC, encoder, table_base

CPU = torch.device("cpu")
BASE = table_base()
ENCODER_STAGES = ("embeddings", "layer1", "layer2", "pooling")
STAGES = (*ENCODER_STAGES, "impute", "dates", "scale", "join", "select")


def filled(chain: Chain) -> None:
    """Give fitted stages numbers that are not those of an unfitted one."""
    for _, stage in chain.backbone:
        if isinstance(stage, Impute):
            stage.get_buffer("fill").fill_(2.5)
        if isinstance(stage, Standardise):
            stage.get_buffer("mean").copy_(torch.arange(len(stage.get_buffer("mean"))))
            stage.get_buffer("scale").fill_(3)


def with_head() -> Chain:
    """Return the chain of the base with the encoder's numbers and a seeded head."""
    chain = build(BASE.architecture, BASE.arguments, Head("linear", 3))
    weights = encoder()[1]
    for name, _ in chain.backbone:
        made = weights if name in BASE.stored else BASE.chain
        chain.load_stage(name, {key: each.clone() for key, each in made.stage_tensors(name).items()})
    filled(chain)
    initialise_head(chain, 0)
    return chain.eval()


def rows() -> Batch:
    """Return the rows as the first stage takes them."""
    return SPEC.to_input(batch_of(prepared(SPEC, ROWS, 100), CPU))


def test_the_chain_is_the_encoder_beside_the_table() -> None:
    """To the bit: the features are those of the table alone, then the embedding of each text, which may be missing."""
    chain = with_head()
    assert chain.stage_names == (*STAGES, HEAD)
    of_table = load_table(SPEC.without_text, [0]).chain
    filled(of_table)
    texts = [SPEC.text.to_input(batch_of(SPEC.text.prepared(str(row.get("body", ""))), CPU)) for row in ROWS]  # type: ignore[union-attr]
    cells = [{name: cell for name, cell in row.items() if name != "body"} for row in ROWS]
    with torch.inference_mode():
        table = of_table.embed(batch_of(prepared(SPEC.without_text, cells, 100), CPU))
        embedded = torch.cat([encoder()[1].embed(each) for each in texts])
        features = torch.cat([table, embedded], dim=1)
        assert torch.equal(chain.embed(rows())[:, :NUM_FEATURES], table)
        torch.testing.assert_close(chain.embed(rows()), features, atol=1e-6, rtol=0)  # rows are padded to the longest
        alone = SPEC.to_input(batch_of(prepared(SPEC, ROWS[:1], 100), CPU))
        assert torch.equal(chain.embed(alone), features[:1])
        assert torch.equal(chain(alone), features[:1] @ chain.stage_tensors(HEAD)["weight"].T + bias_of(chain))


def bias_of(chain: Chain) -> torch.Tensor:
    """Return the bias of the head."""
    return chain.stage_tensors(HEAD)["bias"]


def test_features_can_be_left_out() -> None:
    """The stage that selects is over the features of both."""
    chain = with_head()
    select = chain.stage("select")
    assert isinstance(select, Select)
    select.get_buffer("kept")[NUM_FEATURES:] = 0
    with torch.inference_mode():
        assert not chain.embed(rows())[:, NUM_FEATURES:].any()


def test_the_encoders_stages_are_its_own() -> None:
    """They have its names and tensors, and are known as its own; those of the table are not."""
    manifest, chain = encoder()
    borrowed = borrowed_stages(BASE.architecture, BASE.arguments)
    assert tuple(borrowed) == ENCODER_STAGES
    assert set(map(str, borrowed.values())) == {str(("bert", encoder_arguments()))}
    assert BASE.stored == {stage.name: stage.digest for stage in manifest.stages}
    for name in ENCODER_STAGES:
        forms = {key: (each.shape, each.dtype) for key, each in chain.stage_tensors(name).items()}
        check_stage_tensors(BASE.architecture, BASE.arguments, Head("none"), name, forms)
    assert borrowed_stages("bert", encoder_arguments()) == borrowed_stages("resnet18", {}) == {}
    assert borrowed_stages("table", load_table(SPEC.without_text).arguments) == {}


def manifest() -> Manifest:
    """Return a manifest of the base with a head."""
    names = stage_names(BASE.architecture, BASE.arguments, Head("linear", 3))
    made = BASE.manifest([ManifestStage(name, "0" * 64) for name in names])
    return replace(made, task=Classification(tuple("abc")), head=Head("linear", 3).to_json())


def test_a_manifest_names_the_tokenizer() -> None:
    """As a file of the input spec, which the store keeps as long as the version."""
    check_manifest(manifest())
    assert manifest().files == {"tokenizer": text_spec().tokenizer}
    assert Manifest.from_json(manifest().to_json()) == manifest()


def test_other_encoders_are_refused() -> None:
    """A recurrent network has no words before it is trained."""
    base = load_random_gru([], seed=0)
    gru = base.manifest([ManifestStage(name, "0" * 64) for name in base.chain.stage_names])
    with pytest.raises(InvalidManifest, match=r"must name one of bert, .*, not 'gru'"):
        load_table_text(SPEC, [], gru)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"text": None}, "the argument text must be an object"),
        ({"text": {"name": "bert"}}, "the argument text must be an object"),
        ({"text": {"name": "bert", "arguments": {}}}, "bert's argument activation is missing"),
        ({"text": {"name": "bert", "arguments": encoder_arguments(positions=8)}}, "max_tokens must be at most 8"),
        ({"widths": [3]}, "table_text has no argument widths"),
        ({"numbers": 1}, "dates must be a list of integers in 0..0|must be those"),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    """By what is wrong."""
    with pytest.raises(InvalidManifest, match=message):
        check_manifest(replace(manifest(), arguments={**BASE.arguments, **changed}))


def test_the_text_goes_with_its_architecture() -> None:
    """Neither a table without a text into it, nor one with a text into another."""
    other = load_table(SPEC.without_text, [0])
    alone = other.manifest([ManifestStage(name, "0" * 64) for name in other.chain.stage_names])
    with pytest.raises(InvalidManifest, match=r"input_spec\.text must be there for table_text"):
        check_manifest(replace(alone, input_spec=SPEC.to_json()))
    with pytest.raises(InvalidManifest, match=r"input_spec\.text must be there for table_text"):
        check_manifest(replace(manifest(), input_spec=SPEC.without_text.to_json()))
