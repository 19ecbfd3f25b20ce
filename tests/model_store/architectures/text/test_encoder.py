"""The encoder chain gives what transformers' own modules give, for each member of the BERT family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import model_store.architectures.torchvision_compat  # noqa: F401  transformers imports torchvision, which needs it
from model_store.architectures import Head, build, build_random, initialise_head, stage_names
from model_store.architectures.text.families import FAMILIES, arguments_of
from model_store.errors import InvalidManifest
from model_store.modalities import IDS, MASK, Batch

transformers = pytest.importorskip("transformers")

LENGTHS = (40, 1, 17, 33)
SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 44,
}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZES),
    "roberta": lambda: transformers.RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1),
    "mpnet": lambda: transformers.MPNetConfig(**SIZES, pad_token_id=1),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=61, dim=24, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=44
    ),
}
MINILM = {**SIZES, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}


def reference(kind: str, config: Any | None = None) -> nn.Module:
    """Return transformers' model with seeded weights, biases and norms too."""
    torch.manual_seed(7)
    model: nn.Module = transformers.AutoModel.from_config(config or CONFIGS[kind]())
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def arguments(kind: str, model: Any, pooling: str = "cls", *, normalise: bool = False) -> dict[str, Any]:
    """Return the arguments of the chain that is to equal a model."""
    return {**arguments_of(kind, model.config.to_dict()), "pooling": pooling, "normalise": normalise}


def texts(padding_id: int) -> Batch:
    """Return rows of several lengths, padded to the longest."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(2, 61, (len(LENGTHS), max(LENGTHS)), generator=generator)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return Batch({IDS: ids.where(mask, padding_id), MASK: mask}, len(LENGTHS))


def embedded(kind: str, model: nn.Module, given: dict[str, Any]) -> Tensor:
    """Return what the chain gives for the texts, with the model's weights."""
    chain = build(kind, given, Head("none"))
    found = FAMILIES[kind].from_huggingface(model.state_dict(), given["layers"])
    wanted = {name for stage in chain.stage_names for name in chain.stage_tensors(stage)}
    chain.load_state_dict_torchvision({name: found[name] for name in wanted})
    with torch.inference_mode():
        return chain.eval()(texts(given["padding_id"]))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_chain_equals_the_model(kind: str, pooling: str) -> None:
    """With padding and masks the embeddings agree within 1e-5, whatever is pooled."""
    model = reference(kind)
    batch = texts(model.config.pad_token_id)
    with torch.inference_mode():
        hidden = model(batch.tensors[IDS], attention_mask=batch.tensors[MASK].long()).last_hidden_state
    weights = batch.tensors[MASK][:, :, None].float()
    wanted = hidden[:, 0] if pooling == "cls" else (hidden * weights).sum(1) / weights.sum(1)
    torch.testing.assert_close(embedded(kind, model, arguments(kind, model, pooling)), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind, family in FAMILIES.items() if family.has_pooler])
def test_the_pooler_is_the_models(kind: str) -> None:
    """BERT's own pooling layer gives the model's pooled output."""
    model = reference(kind)
    batch = texts(model.config.pad_token_id)
    with torch.inference_mode():
        wanted = model(batch.tensors[IDS], attention_mask=batch.tensors[MASK].long()).pooler_output
    torch.testing.assert_close(embedded(kind, model, arguments(kind, model, "pooler")), wanted, rtol=0, atol=1e-5)


def test_other_activations_and_norms() -> None:
    """The activation and the epsilon of a configuration are used: MiniLM's relatives differ in them."""
    model = reference("bert", transformers.BertConfig(**MINILM))
    batch = texts(0)
    with torch.inference_mode():
        wanted = model(batch.tensors[IDS], attention_mask=batch.tensors[MASK].long()).last_hidden_state[:, 0]
    torch.testing.assert_close(embedded("bert", model, arguments("bert", model)), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_padding_changes_nothing(kind: str) -> None:
    """A row gives the same alone and unpadded as among longer ones."""
    model = reference(kind)
    given = arguments(kind, model, "mean", normalise=True)
    chain = build_random(kind, given, Head("none"), seed=1).eval()
    batch = texts(given["padding_id"])
    alone = Batch({name: tensor[2:3, : LENGTHS[2]] for name, tensor in batch.tensors.items()}, 1)
    with torch.inference_mode():
        together, by_itself = chain(batch), chain(alone)
    torch.testing.assert_close(together[2:3], by_itself, rtol=0, atol=1e-6)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(LENGTHS)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_weights_return_to_their_names(kind: str) -> None:
    """A checkpoint that was read is written under the names that it had."""
    model = reference(kind)
    names = {name for name in model.state_dict() if "position_ids" not in name and "token_type_ids" not in name}
    found = FAMILIES[kind].from_huggingface(model.state_dict(), 3)
    assert set(FAMILIES[kind].to_huggingface(found)) == names


def test_stages_and_gradients() -> None:
    """There is a stage for each layer, and every tensor that trains gets a gradient."""
    given = arguments("mpnet", reference("mpnet"), "mean")
    assert stage_names("mpnet", given, Head("linear", 3)) == (
        "embeddings", "layer1", "layer2", "layer3", "pooling", "head",
    )  # fmt: skip
    chain = build_random("mpnet", given, Head("linear", 3), seed=1)
    initialise_head(chain, 1)
    with torch.inference_mode():
        chain.eval()(texts(1))
    chain.train()(texts(1)).sum().backward()  # after a run in inference mode, whose tensors must not be kept
    assert not [name for name, parameter in chain.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heads": 5}, "width must be a multiple of heads"),
        ({"layers": 0}, "layers must be an integer"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"activation": ["gelu"]}, "activation must be one of"),
        ({"padding_id": 61}, "padding_id must be"),
        ({"dropout": True}, "dropout must be"),
        ({"pooling": "max"}, "pooling must be one of cls, mean, pooler"),
        ({"normalise": 1}, "normalise must be true or false"),
        ({"more": 1}, "more is unknown"),
    ],
)
def test_impossible_arguments_are_named(change: dict[str, Any], told: str) -> None:
    """A manifest from elsewhere is refused by the name of the argument."""
    given = {**arguments("bert", reference("bert")), **change}
    with pytest.raises(InvalidManifest, match=told):
        build("bert", given, Head("none"))
