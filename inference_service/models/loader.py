"""Turns a manifest into a resident version: every byte verified, stages shared where they are loaded already."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from inference_service.errors import OutOfDeviceMemory
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compiled_stages import Backbone, CompiledStages
from inference_service.models.cuda_graphs import Graphed, Recorder
from inference_service.models.drift_monitor import DriftMonitor
from inference_service.models.folding import Folds, find_folds, folded, has_norms
from inference_service.models.precision import Agreement, Backend, Precision
from inference_service.models.resident import ResidentVersion, Stage, StageIdentity, StageKey
from inference_service.models.ways import Ways, stage_key
from model_store.architectures import (
    HEAD,
    Head,
    build_stage,
    check_stage_tensors,
    check_values,
    drops,
    keeps_dtype,
    reads,
    writes,
)
from model_store.blobs import BlobStore
from model_store.calibration import read_reference
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest
from model_store.modalities import X, load_input_spec
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import check_finite, read_stages

_MAX_FOLDS = 256  # an architecture's arguments, such as sizes, can be any


class Loader:
    """Loads one version at a time; call it in one thread.

    Stages are held weakly: they live as long as a version that uses them, and a version as long as its requests, so no
    count of users can go wrong. `warm_up` runs a version once; it raises where that fails. `precision` is one of
    Precision or `auto`: the fastest in which a version passes the `calibrator`, else float32. `run_alone` runs what
    must not run beside a batch. With a `recorder` the stages of backbones can be recorded as CUDA graphs. With
    `compiled` stages are run by OpenVINO where they were compiled; else PyTorch runs them, they are compiled in the
    background, and `improved` is called with the version's name, in another thread: another load takes them then.
    Windows of `drift_window` rows are compared with those of training; 0 compares none.
    """

    def __init__(
        self,
        blobs: BlobStore,
        device: torch.device,
        warm_up: Callable[[ResidentVersion], object],
        calibrator: Calibrator | None = None,
        precision: str = Precision.FLOAT32,
        run_alone: Callable[[Callable[[], Folds]], Folds] = lambda work: work(),
        *,
        recorder: Recorder | None = None,
        compiled: CompiledStages | None = None,
        improved: Callable[[VersionName], object] = lambda _: None,
        drift_window: int = 0,
    ) -> None:
        self._blobs = blobs
        self._device = device
        self._warm_up = warm_up
        self._calibrator = calibrator
        self._ways = Ways(precision, device, compiled)
        self._run_alone = run_alone
        self._recorder = recorder
        self._compiled = compiled
        self._improved = improved
        self._drift_window = drift_window
        self._folds: dict[StageKey, Folds] = {}
        self._stages: WeakValueDictionary[StageIdentity, Stage] = WeakValueDictionary()

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
        precision, compiled = next(iter(self._ways.of(manifest, has_rows=self._digests(name, head) is not None)))
        sizes = self._blobs.sizes([entry.digest for entry in manifest.stages])
        backend = Backend.TORCH if compiled is None else Backend.OPENVINO
        identities = _identities(manifest, head, precision, backend).values()
        return {identity: self._size_bytes(identity, sizes[identity[0].digest]) for identity in identities}

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
        self._compile_absent(version, manifest)
        return replace(version, drift=self._drift_monitor(version, manifest))

    def _drift_monitor(self, version: ResidentVersion, manifest: Manifest) -> DriftMonitor | None:
        digests = self._digests(version.name, Head.from_json(manifest.head)) if self._drift_window else None
        if digests is None or version.task is None:
            return None
        reference = read_reference(self._blobs, digests.logits, version.embedding_size, version.task)
        return DriftMonitor(reference, version.task.activation, self._drift_window) if reference is not None else None

    def _chosen(self, name: VersionName, manifest: Manifest) -> ResidentVersion:
        """Return the version in the best precision, and by the best backend, that it may be served in."""
        head = check_manifest(manifest)
        digests = self._digests(name, head)
        *to_try, last = self._ways.of(manifest, has_rows=digests is not None)
        tried: list[Agreement] = []
        for precision, compiled in to_try:
            version = self._assembled(name, manifest, head, precision, compiled)
            tried += self._agreement(version, digests)
            # A compiled stage of float32 was compared with PyTorch's when it was compiled.
            if digests is None or precision is Precision.FLOAT32 or tried[-1].passes:
                return replace(version, agreements=tuple(tried))
            del version  # before the next one takes memory
        version = self._assembled(name, manifest, head, *last)
        return replace(version, agreements=(*tried, *self._agreement(version, digests)))

    def _compile_absent(self, version: ResidentVersion, manifest: Manifest) -> None:
        digests = None if self._calibrator is None else self._digests(version.name, Head.from_json(manifest.head))
        inputs = None
        if self._calibrator is not None and digests is not None:
            inputs = partial(self._calibrator.inputs, version.input_spec, digests)
        self._ways.compile_absent(manifest, inputs, partial(self._improved, version.name))

    def _size_bytes(self, identity: StageIdentity, stored_bytes: int) -> int:
        """Return the bytes of a stage whose tensors are stored in float32."""
        _, precision, backend = identity
        if backend is Backend.OPENVINO and self._compiled is not None:
            return self._compiled.size_bytes(stored_bytes, precision)
        return stored_bytes * precision.dtype.itemsize // 4

    def _digests(self, name: VersionName, head: Head) -> CalibrationDigests | None:
        return self._calibrator.digests(name) if self._calibrator is not None and head.outputs else None

    def _agreement(self, version: ResidentVersion, digests: CalibrationDigests | None) -> Iterator[Agreement]:
        """Yield how the version compares with float32, where it is in another precision and there are rows for it."""
        if self._calibrator is not None and digests is not None and version.precision is not Precision.FLOAT32:
            yield self._calibrator.agreement(version, digests)

    def _assembled(
        self, name: VersionName, manifest: Manifest, head: Head, precision: Precision, compiled: Backbone | None
    ) -> ResidentVersion:
        stages = self._stages_of(manifest, head, precision, compiled)
        head_stage = stages.pop(HEAD, None)
        return ResidentVersion(
            name=name,
            architecture=manifest.architecture,
            embedding_size=manifest.embedding_size,
            input_spec=load_input_spec(manifest.input_spec, self._blobs),
            task=manifest.task,
            backbone=tuple(stages.values()),
            head=head_stage,
            precision=precision,
        )

    def _stages_of(
        self, manifest: Manifest, head: Head, precision: Precision, compiled: Backbone | None
    ) -> dict[str, Stage]:
        """Return all stages, first to last; those that are not resident are read at once."""
        ready = {} if compiled is None else self._compiled_stages(compiled, precision)
        keys = _identities(manifest, head, precision, Backend.TORCH)
        stages = ready | {
            name: stage
            for name, key in keys.items()
            if name not in ready and (stage := self._stages.get(key)) is not None
        }
        absent: dict[str, list[str]] = {}
        for name in [each for each in keys if each not in stages]:
            absent.setdefault(keys[name][0].digest, []).append(name)
        read = read_stages(self._blobs, absent)
        for digest, names in absent.items():
            tensors = read.pop(digest)  # nothing but its stage holds it any longer, while others are copied
            for name in names:
                key, in_precision, _ = keys[name]
                stages[name] = self._stages[keys[name]] = self._stage(manifest, head, key, tensors, in_precision)
        return {name: stages[name] for name in keys}

    def _compiled_stages(self, backbone: Backbone, precision: Precision) -> dict[str, Stage]:
        """Return the stages that were compiled, by name: PyTorch runs the others."""
        stages: dict[str, Stage] = {}
        sizes = self._blobs.sizes([key.digest for key in backbone.stages])
        for key in backbone.stages:
            identity = (key, precision, Backend.OPENVINO)
            stage = self._stages.get(identity)
            if stage is None and self._compiled is not None:
                module = self._compiled.stage(backbone, key, precision)
                if module is not None:
                    num_bytes = self._size_bytes(identity, sizes[key.digest])
                    stage = Stage(key, precision, module, num_bytes, backend=Backend.OPENVINO)
                    self._stages[identity] = stage
            if stage is not None:
                stages[key.name] = stage
        return stages

    def _stage(
        self, manifest: Manifest, head: Head, key: StageKey, tensors: Mapping[str, Tensor], precision: Precision
    ) -> Stage:
        """Return the stage ready to run: built without memory, it takes the tensors on the device as its own."""
        forms = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
        check_stage_tensors(manifest.architecture, manifest.arguments, head, key.name, forms)
        check_finite(key.name, tensors)
        module = build_stage(manifest.architecture, manifest.arguments, head, key.name)
        names = reads(module), writes(module), drops(module)
        folds = self._folds_of(manifest, head, key, module)
        module.load_state_dict(_on_device(tensors, self._device), strict=True, assign=True)
        check_values(module, key.name)
        module = folded(module.eval().requires_grad_(requires_grad=False), folds)
        if keeps_dtype(module):
            return Stage(key, precision, module, _size_bytes(module), *names, keeps_dtype=True)
        module = module.to(precision.dtype)
        size_bytes = _size_bytes(module)
        if self._recorder is not None and key.name != HEAD and names[:2] == ((X,), (X,)):
            module = Graphed(module, self._recorder).eval()
        return Stage(key, precision, module, size_bytes, *names)

    def _folds_of(self, manifest: Manifest, head: Head, key: StageKey, module: nn.Module) -> Folds:
        """Return what to fold in a stage, found once, on one without tensors, for all tensors that it may have.

        There are about as many as architectures have stages, however many models are served.
        """
        if not has_norms(module):
            return ()
        built_alike = replace(key, digest="")
        if built_alike not in self._folds:
            bare = build_stage(manifest.architecture, manifest.arguments, head, key.name).eval()
            if len(self._folds) == _MAX_FOLDS:
                del self._folds[next(iter(self._folds))]
            self._folds[built_alike] = self._run_alone(lambda: find_folds(bare))
            # The first of its kind brought in torchvision, and some kinds PyTorch's compiler: up to 150,000 objects
            # that stay for good. Walking over them in the interpreter's collections stopped every thread for 100 ms.
            if len(self._folds) < _MAX_FOLDS:  # what requests hold at this moment is frozen too, so not for ever
                gc.freeze()
        return self._folds[built_alike]


def _identities(manifest: Manifest, head: Head, precision: Precision, backend: Backend) -> dict[str, StageIdentity]:
    """Return the identity of each stage, first to last."""
    of_head, of_others = (Precision.FLOAT32, Backend.TORCH), (precision, backend)
    return {
        entry.name: (stage_key(manifest, head, entry), *(of_head if entry.name == HEAD else of_others))
        for entry in manifest.stages
    }


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
