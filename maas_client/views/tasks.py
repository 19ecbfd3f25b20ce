"""What a version or a dataset has of its task: labels, or targets."""

from __future__ import annotations

from maas.model_store.v1 import model_store_pb2 as pb


def answers_noun(task: pb.Task) -> str:
    """Return what the answers of a task are called."""
    return "targets" if task == pb.TASK_REGRESSION else "labels"


def answers_text(task: pb.Task, count: int) -> str:
    """Say how many labels or targets there are; an empty text for a backbone, which has none."""
    noun = answers_noun(task)
    return f"{count:,} {noun.removesuffix('s') if count == 1 else noun}" if count else ""
