"""The errors of the inference service; like the store's, each has advice in its text and knows no transport."""

from __future__ import annotations

from model_store.errors import IllegalState, NotFound, StoreError, Unavailable


class NotServed(NotFound):
    """The target is neither loaded nor desired."""


class NotReady(Unavailable):
    """The target is not loaded now, and no request loads it."""


class LoadFailed(IllegalState):
    """The target could not be loaded; the text has the reason."""


class NoHead(IllegalState):
    """The version is a backbone only and knows no labels."""


class NothingToServe(IllegalState):
    """The registry has the model, and names no version of it to be served."""


class NotOffered(StoreError):
    """The protocol has this, and the service does not."""


class QueueFull(StoreError):
    """The cost of the waiting rows has reached the operator's limit."""


class OutOfDeviceMemory(StoreError):
    """The device has no memory left for this."""


class DeviceFailed(Unavailable):
    """The device can run nothing any more; the service must be restarted."""


class Stopping(Unavailable):
    """The service stops: a request that is not answered by now stays unanswered."""


class DeadlineExceeded(StoreError):
    """The caller's deadline passed, or is nearer than the device can answer."""
