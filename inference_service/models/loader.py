"""Turns a manifest into a resident version: every byte verified, stages shared where they are loaded already."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from inference_service.errors import OutOfDeviceMemory
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compiled_stages import Backbone, CompiledStages
from inference_service.models.cuda_graphs import Graphed, Recorder
from inference_service.models.folding import Folds, find_folds, folded, has_norms
from inference_service.models.precision import Agreement, Backend, Precision, candidates
from inference_service.models.resident import ResidentVersion, Stage, StageIdentity, StageKey
from model_store.architectures import HEAD, Head, build, build_stage, check_stage_tensors, reads, writes
from model_store.blobs import BlobStore
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage, canonical_json
from model_store.modalities import X, read_input_spec
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import check_finite, read_stages

COMPILED_PRECISIONS = (Precision.FLOAT32, Precision.BFLOAT16)
_MAX_FOLDS = 256  # an architecture's arguments, such as sizes, can be any

_Way = tuple[Precision, Backbone | None]
"""In which precision, and of which compiled stages: of none where PyTorch runs all."""


class Loader:
    """Loads one version at a time; call it in one thread.

    Stages are held weakly: they live as long as a version that uses them, and a version as long as its requests, so no
    count of users can go wrong. `warm_up` runs a version once; it raises where that fails. `precision` is one of
    Precision or `auto`: the fastest in which a version passes the `calibrator`, else float32. `run_alone` runs what
    must not run beside a batch. With a `recorder` the stages of backbones can be recorded as CUDA graphs. With
    `compiled` stages are run by OpenVINO where they were compiled; else PyTorch runs them, they are compiled in the
    background, and `improved` is called with the version's name, in another thread: another load takes them then.
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
    ) -> None:
        self._blobs = blobs
        self._device = device
        self._warm_up = warm_up
        self._calibrator = calibrator
        self._precision = precision
        self._run_alone = run_alone
        self._recorder = recorder
        self._compiled = compiled
        self._improved = improved
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
        precision, compiled = next(iter(self._ways(manifest, has_rows=self._digests(name, head) is not None)))
        sizes = self._blobs.sizes([entry.digest for entry in manifest.stages])
        backend = Backend.TORCH if compiled is None else Backend.OPENVINO
        num_copies = 1 if self._compiled is None else self._compiled.num_copies
        return {
            key: sizes[key[0].digest] * (4 * num_copies if key[2] is Backend.OPENVINO else key[1].dtype.itemsize) // 4
            for key in _identities(manifest, head, precision, backend).values()
        }

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
        self._compile_absent(name, manifest)
        return version

    def _chosen(self, name: VersionName, manifest: Manifest) -> ResidentVersion:
        """Return the version in the best precision, and by the best backend, that it may be served in."""
        head = check_manifest(manifest)
        digests = self._digests(name, head)
        *to_try, last = self._ways(manifest, has_rows=digests is not None)
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

    def _ways(self, manifest: Manifest, *, has_rows: bool) -> list[_Way]:
        """Return how a version may be run, the best first; without rows to calibrate by, `auto` is float32."""
        backbone = self._backbone(manifest)
        precisions = candidates(self._precision, self._device)
        ways: list[_Way] = []
        for precision in precisions if has_rows else precisions[-1:]:
            if backbone is not None and self._compiled is not None and self._compiled.has(backbone, precision):
                ways.append((precision, backbone))
            ways.append((precision, None))
        return ways

    def _backbone(self, manifest: Manifest) -> Backbone | None:
        """Return what is to be compiled of a version; None where PyTorch runs all of it.

        Compiled are backbones of convolutions, for rows of one size: transformers ran no faster.
        """
        row_shape = read_input_spec(manifest.input_spec).tensors()[0].shape
        if self._compiled is None or len(row_shape) < 2 or min(row_shape) < 1:
            return None
        if not _has_convolutions(manifest.architecture, canonical_json(manifest.arguments)):
            return None
        head = Head.from_json(manifest.head)
        keys = tuple(_stage_key(manifest, head, entry) for entry in manifest.stages if entry.name != HEAD)
        return Backbone(keys, row_shape, canonical_json(manifest.head).decode())

    def _compile_absent(self, name: VersionName, manifest: Manifest) -> None:
        backbone = self._backbone(manifest)
        if self._compiled is not None and backbone is not None:
            precisions = [each for each in candidates(self._precision, self._device) if each in COMPILED_PRECISIONS]
            if not all(self._compiled.has(backbone, each) for each in precisions):
                self._compiled.compile(backbone, precisions, partial(self._improved, name))

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
            input_spec=read_input_spec(manifest.input_spec),
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
                    num_bytes = self._compiled.num_copies * sizes[key.digest]
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
        names = reads(module), writes(module)
        folds = self._folds_of(manifest, head, key, module)
        module.load_state_dict(_on_device(tensors, self._device), strict=True, assign=True)
        module = folded(module.eval().requires_grad_(requires_grad=False), folds).to(precision.dtype)
        size_bytes = _size_bytes(module)
        if self._recorder is not None and key.name != HEAD and names == ((X,), (X,)):
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


@lru_cache(maxsize=_MAX_FOLDS)
def _has_convolutions(architecture: str, arguments: bytes) -> bool:
    chain = build(architecture, json.loads(arguments), Head("none"))
    return sum(isinstance(module, nn.Conv2d) for module in chain.modules()) > 1  # one makes patches for a transformer


def _identities(manifest: Manifest, head: Head, precision: Precision, backend: Backend) -> dict[str, StageIdentity]:
    """Return the identity of each stage, first to last."""
    of_head, of_others = (Precision.FLOAT32, Backend.TORCH), (precision, backend)
    return {
        entry.name: (_stage_key(manifest, head, entry), *(of_head if entry.name == HEAD else of_others))
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
