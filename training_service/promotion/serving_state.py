"""The state of one version in one inference service, read over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto

import grpc
import structlog
from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1 import inference_pb2_grpc

from grpc_runtime.addresses import channel_options, proxy_remark
from model_store.names import AliasName, VersionName, model_name
from model_store.records.promotion import Verdict
from model_store.texts import cut_text

_RETRY_SECONDS = 1.0
_MAX_TEXT = 300
_log = structlog.get_logger()


class Stand(Enum):
    """The state of a version in a service; a FAILED version is retried there."""

    UNKNOWN = auto()
    WAITED_FOR = auto()
    FAILED = auto()
    SERVED = auto()


class Serving:
    """One version behind an alias in the service at an address; `text` describes its state for people.

    Any reader of the job sees the text, so it names the service by its number among the operator's addresses.
    `is_ready` says whether the version is loaded; `shadow` has its counts as the alias' shadow.
    """

    def __init__(self, number: int, address: str, alias: AliasName, version: VersionName) -> None:
        self.stand = Stand.UNKNOWN
        self.text = f"inference service {number} has not answered"
        self._number = number
        self._address = address
        self.is_ready = False
        self.shadow = pb.ServedShadow()
        self._alias = alias
        self._version = version

    async def until_served(self) -> None:
        """Return once the service answers the alias from the version; retry while the service is away."""
        await self._watch(lambda: self.stand is Stand.SERVED)

    async def until_answered(self) -> None:
        """Return the state of the version in the service."""
        await self._watch(lambda: self.stand is not Stand.UNKNOWN)

    async def _watch(self, is_enough: Callable[[], bool]) -> None:
        request = pb.WatchServedModelsRequest(name=model_name(self._alias.model_id))
        async with grpc.aio.insecure_channel(self._address, channel_options(self._address)) as channel:
            service = inference_pb2_grpc.InferenceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            while True:
                try:
                    async for state in service.WatchServedModels(request):
                        self._take(state)
                        if is_enough():
                            return
                except grpc.aio.AioRpcError as error:
                    self._note_failure(error)
                await asyncio.sleep(_RETRY_SECONDS)  # it ended the watch: it stops, or is not there

    def _take(self, state: pb.ServedModel) -> None:
        alias = next((each for each in state.aliases if each.name == str(self._alias)), pb.ServedAlias())
        report = next((each for each in state.versions if each.name == str(self._version)), pb.ServedVersion())
        self.is_ready = report.state == pb.VERSION_STATE_READY
        if alias.shadow.version == str(self._version):
            self.shadow = alias.shadow
        if alias.version == str(self._version):
            self._stand(Stand.SERVED, f"answers {self._alias} from {self._version}")
        elif report.state == pb.VERSION_STATE_FAILED:
            self._stand(Stand.FAILED, f"cannot load {self._version}: {report.reason}")
        elif self.stand is not Stand.FAILED:
            told = pb.VersionState.Name(report.state).removeprefix("VERSION_STATE_").lower()
            self._stand(Stand.WAITED_FOR, f"does not serve {self._version} yet: it is {told} {report.reason}".rstrip())

    def _note_failure(self, error: grpc.aio.AioRpcError) -> None:
        details = error.details() or ""
        remark = proxy_remark(details)
        text = f"inference service {self._number} answers {error.code().name}{f' ({remark})' if remark else ''}"
        if text != self.text:
            _log.warning("inference_service_failed", address=self._address, reason=text, details=details)
        self.text = text

    def _stand(self, stand: Stand, text: str) -> None:
        self.stand, self.text = stand, cut_text(f"inference service {self._number} {text}", _MAX_TEXT)


def is_shadow_finished(servings: Sequence[Serving], min_rows: int) -> bool:
    """Say whether the verdict is known: enough rows ran on the shadow version, or one failed there."""
    shadows = [each.shadow for each in servings]
    return any(each.failed_count for each in shadows) or sum(each.row_count for each in shadows) >= min_rows


def shadow_verdict(verdict: Verdict, servings: Sequence[Serving], min_rows: int) -> Verdict:
    """Say whether a shadow passes: ready everywhere, on enough rows, and without a failure.

    Its answers may differ, since it was trained to differ; the text has the share of different answers.
    """
    if not servings:
        return replace(verdict, passes=False, reason="no inference service is named to ask about the shadow")
    if away := [each.text for each in servings if not each.is_ready]:
        return replace(verdict, passes=False, reason=f"was not ready as a shadow: {'; '.join(away)}")
    num_failed = sum(each.shadow.failed_count for each in servings)
    num_compared = sum(each.shadow.compared_count for each in servings)
    if num_failed:
        reason = f"failed {num_failed} of {num_failed + num_compared} requests as a shadow"
        return replace(verdict, passes=False, reason=reason)
    num_rows = sum(each.shadow.row_count for each in servings)
    if num_rows < min_rows:
        reason = (
            f"ran on {num_rows} rows as a shadow, and at least {min_rows} are asked for (shadow_min_rows): send the "
            "alias more requests, shadow for longer, or ask for fewer rows"
        )
        return replace(verdict, passes=False, reason=reason)
    num_agreeing = sum(each.shadow.agreeing_row_count for each in servings)
    told = f", the same label for {num_agreeing} of {num_rows} rows" if num_rows else ""
    return replace(verdict, passes=True, reason=f"{verdict.reason}; shadowed {num_compared} requests{told}")
