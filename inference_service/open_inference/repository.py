"""Loads a model by a call, also where the registry's newest change has not got here yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from inference_service.desired.desired_versions import WantedModel
from inference_service.errors import NothingToServe, NotReady, NotServed
from inference_service.lifecycle.manager import Manager
from model_store.names import model_name


class Repository:
    """Loads and unloads models; `wanted` returns the desired versions of one model."""

    def __init__(self, manager: Manager, wanted: Callable[[str], WantedModel]) -> None:
        self._manager = manager
        self._wanted = wanted

    async def load(self, model_id: str) -> None:
        """Return when a model answers; raise ModelNotFound, NothingToServe or LoadFailed where it will not."""
        async with aclosing(self._manager.watch(model_id)) as reports:
            async for _ in reports:
                try:
                    return await self._manager.load_model(model_id)
                except NotServed:
                    await self._check_wanted(model_id)
        raise NotReady("the service is stopping")

    async def _check_wanted(self, model_id: str) -> None:
        """Pass where the registry's newest change only has not got here yet."""
        if not (await asyncio.to_thread(self._wanted, model_id)).versions:
            raise NothingToServe(
                f"{model_name(model_id)} has no version that should be served: point an alias at one (`maas alias "
                f"set`), or let MAAS_INFERENCE_NUM_NEWEST_VERSIONS be more than 0 or MAAS_INFERENCE_ON_DEMAND be true"
            )
