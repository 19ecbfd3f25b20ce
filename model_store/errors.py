"""The errors of the model store: each names the resource and says what to do; none knows a transport.

The classes directly under `StoreError` are the kinds a service maps to its transport's codes.
"""

from __future__ import annotations

from dataclasses import dataclass


class StoreError(Exception):
    """Base of every error that the model store raises on purpose; its text is fit for a user.

    `detail` is for the operator alone: hosts, users, paths, endpoints and a library's own words belong there.
    """

    def __init__(self, text: str, *, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail

    @property
    def in_full(self) -> str:
        """Text and detail, for the log or an operator's terminal."""
        return f"{self} ({self.detail})" if self.detail else str(self)


class NotFound(StoreError):
    """A named resource does not exist."""


class AlreadyExists(StoreError):
    """A resource of this name exists with other content."""


class IllegalState(StoreError):
    """The resource is in a state that does not allow this."""


class Conflict(StoreError):
    """Another writer changed the resource first."""


class Expired(StoreError):
    """A part of the history is not kept any more; the text says from where on it is."""


class Unavailable(StoreError):
    """A part the store needs does not answer now; trying again later may help."""


class StorageFull(StoreError):
    """The disk, or a limit set by the operator, has no room for this."""


class DamagedStore(StoreError):
    """The stored bytes are not the bytes that their name promises."""


@dataclass(frozen=True)
class Violation:
    """One field of the caller's input that cannot be used, and why."""

    field: str
    description: str


class InvalidInput(StoreError):
    """The caller's input cannot be used; `violations` name the fields."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{each.field}: {each.description}" for each in violations))
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> InvalidInput:
        """Build the common case of one field."""
        return cls(Violation(field, description))


class ModelNotFound(NotFound):
    """There is no such model."""


class VersionNotFound(NotFound):
    """There is no such version."""


class AliasNotFound(NotFound):
    """There is no such alias."""


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class JobNotFound(NotFound):
    """There is no such training job."""


class AliasMoved(Conflict):
    """An alias is not where it was when a move of it was prepared."""


class LeaseLost(Conflict):
    """The job's lease ran out and another runner may hold it now."""


class JobStopping(Conflict):
    """The job is being paused or cancelled: its worker must not take the next step."""


class MissingBlob(DamagedStore):
    """A blob that a manifest names is not in the store."""


class CorruptBlob(DamagedStore):
    """A blob's bytes do not have the digest that names it."""


class SchemaMismatch(StoreError):
    """The database has another schema than this code; the message names the command to run."""


class InvalidExample(StoreError):
    """An example cannot be used by the modality that it is given for; the text says why."""


class InvalidManifest(StoreError):
    """A manifest, or a stage's tensors, do not fit the architecture; the text says where."""


class ExtraMissing(IllegalState):
    """A model is built by a library that is not installed here; the text names the extra to install."""


class BaseUnavailable(StoreError):
    """The weights of a base are not available here; the text names the alternatives."""
