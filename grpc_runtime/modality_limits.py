"""Limits by modality: those that are set, and the modality's own for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from model_store.modalities import LIMITS, Limits

LimitField = Literal["example", "request", "batch_cost", "queue_cost"]


def _read_numbers(text: object) -> object:
    """Read `KIND=NUMBER,KIND=NUMBER`; raise ValueError for another form."""
    if not isinstance(text, str):
        return text
    pairs = [each.strip().partition("=") for each in text.split(",") if each.strip()]
    if wrong := [f"{key}{separator}" for key, separator, number in pairs if not number]:
        raise ValueError(f"must have the form KIND=NUMBER,KIND=NUMBER: {wrong[0]!r} has no number")
    return {key: number for key, _, number in pairs}


def _checked(numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Return numbers by modality; raise ValueError for an unknown modality, and for numbers below 1."""
    for kind, number in numbers.items():
        if kind not in LIMITS:
            raise ValueError(f"must name modalities, {', '.join(LIMITS)}, not {kind!r}")
        if number < 1:
            raise ValueError(f"must be at least 1 for {kind}, not {number}")
    return numbers


NumbersByModality = Annotated[Mapping[str, int], NoDecode, BeforeValidator(_read_numbers), AfterValidator(_checked)]
"""A setting with a number for some modalities, as `image=10,values=20`."""


def own_numbers(field: LimitField) -> Mapping[str, int]:
    """Return one field of every modality's own limits: the default of a setting."""
    return {kind: getattr(own, field) for kind, own in LIMITS.items()}


def limits_of(**numbers: Mapping[str, int]) -> Mapping[str, Limits]:
    """Return the limits of every modality: the given numbers of each field of Limits, else the modality's own."""
    return {
        kind: replace(own, **{field: given[kind] for field, given in numbers.items() if kind in given})
        for kind, own in LIMITS.items()
    }
