"""The fields of a message by flat names: read and written wherever they lie in it."""

from __future__ import annotations

from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import leaf_fields

FULL = leaf_fields(pb.Recipe.Full)


def test_a_field_is_found_wherever_it_lies() -> None:
    """By its own name, or by that of the message whose kind it is."""
    assert FULL["learning_rate"].path == ("optimizer", "learning_rate")
    assert (FULL["schedule"].path, FULL["optimizer"].path) == (("schedule", "kind"), ("optimizer", "kind"))
    assert FULL["optimizer"].words == ("sgd", "adamw")
    assert FULL["schedule"].words == ("constant", "cosine", "one_cycle")
    assert (FULL["nesterov"].within, FULL["learning_rate"].within) == (("optimizer", "sgd"), None)
    assert leaf_fields(pb.Recipe.LinearProbe)["augmentation"].path == ("augmentation",)


def test_what_is_written_is_read_again() -> None:
    """A number, an enum's word, a oneof's word; what was not written is None."""
    message, values = pb.Recipe.Full(), {"learning_rate": 0.1, "schedule": "one_cycle", "optimizer": "adamw"}
    for name, value in values.items():
        FULL[name].write(message, value)
    expected = pb.Recipe.Full(
        optimizer=pb.OptimizerSpec(adamw=pb.OptimizerSpec.AdamW(), learning_rate=0.1),
        schedule=pb.ScheduleSpec(kind=pb.SCHEDULE_ONE_CYCLE),
    )
    assert message == expected
    assert {name: leaf.read(message) for name, leaf in FULL.items() if leaf.read(message) is not None} == values


def test_a_zero_is_a_value() -> None:
    """Of a number that is set; an enum's first value stands for one that is not."""
    message = pb.Recipe.Full(label_smoothing=0, precision=pb.PRECISION_UNSPECIFIED)
    assert (FULL["label_smoothing"].read(message), FULL["precision"].read(message)) == (0.0, None)


def test_a_number_that_an_enum_does_not_know_is_its_digits() -> None:
    """A newer client may send one: it is no word that can be chosen."""
    assert FULL["precision"].read(pb.Recipe.Full(precision=99)) == "99"  # type: ignore[arg-type]
