"""Turns a manifest into a resident version: every byte verified, stages shared where they are loaded already."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from inference_service.errors import OutOfDeviceMemory
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.prepare import Plan, folded, has_convolutions, make_plan, packed
from inference_service.models.cuda_graphs import Graphed, Recorder
from inference_service.models.precision import Agreement, Precision, candidates
from inference_service.models.resident import ResidentVersion, Stage, StageKey
from model_store.architectures import HEAD, Head, build_stage, check_stage_tensors, reads, writes
from model_store.blobs import BlobStore
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage, canonical_json
from model_store.modalities import X, read_input_spec
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import check_finite, read_stages

_MAX_PLANS = 256  # an architecture's arguments, such as sizes, can be any


class Loader:
    """Loads one version at a time; call it in one thread.

    Stages are held weakly: they live as long as a version that uses them, and a version as long as its requests, so no
    count of users can go wrong. `warm_up` runs a version once; it raises where that fails. `precision` is one of
    Precision or `auto`: the fastest in which a version passes the `calibrator`, else float32. `run_alone` runs what
    must not run beside a batch. With a `recorder` the stages of backbones can be recorded as CUDA graphs.
    """

    def __init__(
        self,
        blobs: BlobStore,
        device: torch.device,
        warm_up: Callable[[ResidentVersion], object],
        calibrator: Calibrator | None = None,
        precision: str = Precision.FLOAT32,
        run_alone: Callable[[Callable[[], Plan | None]], Plan | None] = lambda work: work(),
        recorder: Recorder | None = None,
    ) -> None:
        self._blobs = blobs
        self._device = device
        self._warm_up = warm_up
        self._calibrator = calibrator
        self._precision = precision
        self._run_alone = run_alone
        self._recorder = recorder
        self._plans: dict[StageKey, Plan | None] = {}
        self._stages: WeakValueDictionary[tuple[StageKey, Precision], Stage] = WeakValueDictionary()

    @property
    def resident_bytes(self) -> int:
        """Bytes of all stages on the device, a shared one counted once."""
        return sum(stage.size_bytes for stage in self._stages.values())

    def stage_bytes(self, name: VersionName, manifest_digest: str) -> dict[Hashable, int]:
        """Return about how many bytes each stage of a version takes on the device, by `Stage.identity`.

        It is taken to be served in the best precision that will be tried. Raises MissingBlob, CorruptBlob or
        InvalidManifest.
        """
        manifest = Manifest.from_json(self._blobs.read(manifest_digest))
        head = check_manifest(manifest)
        best, *others = candidates(self._precision, self._device)
        precision = best if not others or self._digests(name, head) is not None else others[-1]
        sizes = self._blobs.sizes([entry.digest for entry in manifest.stages])
        keys = _stage_keys(manifest, head, precision)
        return {key: sizes[key[0].digest] * key[1].dtype.itemsize // 4 for key in keys.values()}

    def load(self, name: VersionName, manifest_digest: str) -> ResidentVersion:
        """Return the version, verified and warmed up.

        Raises MissingBlob, CorruptBlob, InvalidManifest or OutOfDeviceMemory; nothing stays loaded then.
        """
        manifest = Manifest.from_json(self._blobs.read(manifest_digest))
        try:
            version = self._chosen(name, manifest)
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(f"{name} does not fit into the device's memory beside what is loaded") from error
        self._warm_up(version)
        return version

    def _chosen(self, name: VersionName, manifest: Manifest) -> ResidentVersion:
        """Return the version in the best precision that it may be served in."""
        head = check_manifest(manifest)
        digests = self._digests(name, head)
        *to_try, precision = candidates(self._precision, self._device)
        tried: list[Agreement] = []
        for fast in to_try if digests is not None else ():
            version = self._assembled(name, manifest, head, fast)
            tried += self._agreement(version, digests)
            if tried[-1].passes:
                return replace(version, agreements=tuple(tried))
            del version  # before the next one takes memory
        version = self._assembled(name, manifest, head, precision)
        return replace(version, agreements=(*tried, *self._agreement(version, digests)))

    def _digests(self, name: VersionName, head: Head) -> CalibrationDigests | None:
        return self._calibrator.digests(name) if self._calibrator is not None and head.outputs else None

    def _agreement(self, version: ResidentVersion, digests: CalibrationDigests | None) -> Iterator[Agreement]:
        """Yield how the version compares with float32, where it is in another precision and there are rows for it."""
        if self._calibrator is not None and digests is not None and version.precision is not Precision.FLOAT32:
            yield self._calibrator.agreement(version, digests)

    def _assembled(self, name: VersionName, manifest: Manifest, head: Head, precision: Precision) -> ResidentVersion:
        stages = self._stages_of(manifest, head, precision)
        head_stage = stages.pop(HEAD, None)
        return ResidentVersion(
            name=name,
            architecture=manifest.architecture,
            embedding_size=manifest.embedding_size,
            input_spec=read_input_spec(manifest.input_spec),
            task=manifest.task,
            backbone=tuple(stages.values()),
            head=head_stage,
            precision=precision,
        )

    def _stages_of(self, manifest: Manifest, head: Head, precision: Precision) -> dict[str, Stage]:
        """Return all stages, first to last; those that are not resident are read at once."""
        keys = _stage_keys(manifest, head, precision)
        stages = {name: stage for name, key in keys.items() if (stage := self._stages.get(key)) is not None}
        absent: dict[str, list[str]] = {}
        for name in [each for each in keys if each not in stages]:
            absent.setdefault(keys[name][0].digest, []).append(name)
        read = read_stages(self._blobs, absent)
        for digest, names in absent.items():
            tensors = read.pop(digest)  # nothing but its stage holds it any longer, while others are copied
            for name in names:
                key, in_precision = keys[name]
                stages[name] = self._stages[keys[name]] = self._stage(manifest, head, key, tensors, in_precision)
        return {name: stages[name] for name in keys}

    def _stage(
        self, manifest: Manifest, head: Head, key: StageKey, tensors: Mapping[str, Tensor], precision: Precision
    ) -> Stage:
        """Return the stage ready to run: built without memory, it takes the tensors on the device as its own."""
        forms = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
        check_stage_tensors(manifest.architecture, manifest.arguments, head, key.name, forms)
        check_finite(key.name, tensors)
        module = build_stage(manifest.architecture, manifest.arguments, head, key.name)
        names = reads(module), writes(module)
        plan = self._plan(manifest, head, key, module)
        module.load_state_dict(_on_device(tensors, self._device), strict=True, assign=True)
        module = module.eval().requires_grad_(requires_grad=False)
        if plan is not None:
            module = folded(module, plan)
        module = module.to(precision.dtype)
        size_bytes = _size_bytes(module)
        if plan is not None:
            module = packed(module, plan)
        if self._recorder is not None and key.name != HEAD and names == ((X,), (X,)):
            module = Graphed(module, self._recorder).eval()
        return Stage(key, precision, module, size_bytes, *names)

    def _plan(self, manifest: Manifest, head: Head, key: StageKey, module: nn.Module) -> Plan | None:
        """Return what to do to a stage, found out once, on one without tensors, for all tensors that it may have.

        Its tensors do not matter to it, and there is nothing to do without a convolution, as in every head: there are
        about as many plans as architectures have stages, however many models are served.
        """
        if not has_convolutions(module):
            return None
        built_alike = replace(key, digest="")
        if built_alike not in self._plans:
            bare = build_stage(manifest.architecture, manifest.arguments, head, key.name).eval()
            if len(self._plans) == _MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[built_alike] = self._run_alone(lambda: make_plan(bare))
            # The first of its kind brought in torchvision, and some kinds PyTorch's compiler: up to 150,000 objects
            # that stay for good. Walking over them in the interpreter's collections stopped every thread for 100 ms.
            if len(self._plans) < _MAX_PLANS:  # what requests hold at this moment is frozen too, so not for ever
                gc.freeze()
        return self._plans[built_alike]


def _stage_keys(manifest: Manifest, head: Head, precision: Precision) -> dict[str, tuple[StageKey, Precision]]:
    """Return the identity of each stage, first to last."""
    return {
        entry.name: (_stage_key(manifest, head, entry), Precision.FLOAT32 if entry.name == HEAD else precision)
        for entry in manifest.stages
    }


def _stage_key(manifest: Manifest, head: Head, entry: ManifestStage) -> StageKey:
    return StageKey(
        architecture=manifest.architecture,
        arguments=canonical_json(manifest.arguments).decode(),
        head=canonical_json(head.to_json()).decode() if entry.name == HEAD else "",
        name=entry.name,
        digest=entry.digest,
    )


def _on_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return a stage's tensors on the device: as they are, or all copied, so that the buffer they share can go."""
    if device.type == "cpu" and all(each.is_contiguous(memory_format=_layout(each)) for each in tensors.values()):
        return dict(tensors)
    return {name: each.to(device, copy=True, memory_format=_layout(each)) for name, each in tensors.items()}


def _layout(tensor: Tensor) -> torch.memory_format:
    """Channels last, as convolutions prefer."""
    return torch.channels_last if tensor.ndim == 4 else torch.contiguous_format


def _size_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in module.state_dict().values())
