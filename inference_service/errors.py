"""The errors of the inference service; like the store's, each says what to do and knows no transport."""

from __future__ import annotations

from model_store.errors import IllegalState, NotFound, StoreError, Unavailable


class NotServed(NotFound):
    """The service neither holds nor wants what the request names."""


class NotReady(Unavailable):
    """What should answer is not loaded now, and no request brings it up."""


class LoadFailed(IllegalState):
    """What should answer could not be loaded; the text has the reason."""


class NoHead(IllegalState):
    """The version is a backbone only and knows no labels."""


class NothingToServe(IllegalState):
    """The registry has the model, and names no version of it to be served."""


class NotOffered(StoreError):
    """The protocol has this, and the service does not."""


class QueueFull(StoreError):
    """As many rows wait as the operator allows."""


class OutOfDeviceMemory(StoreError):
    """The device has no memory left for this."""


class DeviceFailed(Unavailable):
    """The device can run nothing any more; the service has to start anew."""


class Stopping(Unavailable):
    """The service ends: what it has not answered by now, it will not."""


class DeadlineExceeded(StoreError):
    """The caller's deadline passed, or is nearer than the device can answer."""
