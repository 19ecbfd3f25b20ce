"""Load and unload, as far as they can be had where the model store decides what is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import NoReturn

from inference_service.errors import NothingToServe, NotReady, NotServed
from inference_service.manager import Manager
from inference_service.wanted import WantedModel
from model_store.errors import IllegalState
from model_store.names import ModelName, model_name


class Repository:
    """Waits for models that are becoming served; `wanted` asks the model store what should be loaded of one."""

    def __init__(self, manager: Manager, wanted: Callable[[str], WantedModel]) -> None:
        self._manager = manager
        self._wanted = wanted

    async def load(self, model_id: str) -> None:
        """Wait until a model answers; raise ModelNotFound, NothingToServe or LoadFailed where it will not."""
        async with aclosing(self._manager.watch(model_id)) as reports:
            async for _ in reports:
                try:
                    with self._manager.lease(ModelName(model_id)):
                        return
                except NotReady:
                    continue
                except NotServed:
                    await self._check_wanted(model_id)
        raise NotReady("the service is stopping")

    def refuse_unload(self, model_id: str) -> NoReturn:
        """Say what decides instead; raise NotServed where the model is not served anyway."""
        self._manager.report(model_id)
        raise IllegalState(
            f"{model_name(model_id)} is served for as long as the model store wants it: delete its aliases and "
            f"versions there, or the model (`maas alias delete`, `maas delete`)"
        )

    async def _check_wanted(self, model_id: str) -> None:
        """Pass where the registry's newest change only has not got here yet."""
        if not (await asyncio.to_thread(self._wanted, model_id)).versions:
            raise NothingToServe(
                f"{model_name(model_id)} has no version that should be served: point an alias at one "
                f"(`maas alias set`), or let MAAS_INFERENCE_NUM_NEWEST_VERSIONS be more than 0"
            )
