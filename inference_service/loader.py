"""Turns a manifest into a resident version: every byte verified, stages shared where they are loaded already."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from inference_service.errors import OutOfDeviceMemory
from inference_service.resident import ResidentVersion, Stage, StageKey
from model_store.architectures import HEAD, Head, build_stage, check_stage_tensors
from model_store.blobs import BlobStore
from model_store.inputs import ImageInputSpec
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage, canonical_json
from model_store.names import VersionName
from model_store.stages import read_stage


class Loader:
    """Loads one version at a time; call it in one thread.

    Stages are held weakly: they live as long as a version that uses them, and a version as long as its requests, so no
    count of users can go wrong. `warm_up` runs a version once; it raises where that fails.
    """

    def __init__(self, blobs: BlobStore, device: torch.device, warm_up: Callable[[ResidentVersion], object]) -> None:
        self._blobs = blobs
        self._device = device
        self._warm_up = warm_up
        self._stages: WeakValueDictionary[StageKey, Stage] = WeakValueDictionary()

    @property
    def resident_bytes(self) -> int:
        """Bytes of all stages on the device, a shared one counted once."""
        return sum(stage.size_bytes for stage in self._stages.values())

    def load(self, name: VersionName, manifest_digest: str) -> ResidentVersion:
        """Return the version, verified and warmed up.

        Raises MissingBlob, CorruptBlob, InvalidManifest or OutOfDeviceMemory; nothing stays loaded then.
        """
        manifest = Manifest.from_json(self._blobs.read(manifest_digest))
        try:
            version = self._assembled(name, manifest)
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(f"{name} does not fit into the device's memory beside what is loaded") from error
        self._warm_up(version)
        return version

    def _assembled(self, name: VersionName, manifest: Manifest) -> ResidentVersion:
        head = check_manifest(manifest)
        input_spec = ImageInputSpec.from_json(manifest.input_spec)
        stages = {entry.name: self._stage(manifest, head, entry) for entry in manifest.stages}
        head_stage = stages.pop(HEAD, None)
        return ResidentVersion(name, input_spec, manifest.labels, tuple(stages.values()), head_stage)

    def _stage(self, manifest: Manifest, head: Head, entry: ManifestStage) -> Stage:
        key = _stage_key(manifest, head, entry)
        stage = self._stages.get(key)
        if stage is None:
            module = self._module(manifest, head, entry)
            stage = self._stages[key] = Stage(key, module, _size_bytes(module))
        return stage

    def _module(self, manifest: Manifest, head: Head, entry: ManifestStage) -> nn.Module:
        """Return the stage ready to run: built without memory, it takes the tensors on the device as its own."""
        tensors = read_stage(self._blobs, entry.digest)
        forms = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
        check_stage_tensors(manifest.architecture, manifest.arguments, head, entry.name, forms)
        module = build_stage(manifest.architecture, manifest.arguments, head, entry.name)
        on_device = {name: _copied(tensor, self._device) for name, tensor in tensors.items()}
        module.load_state_dict(on_device, strict=True, assign=True)
        return module.eval().requires_grad_(requires_grad=False)


def _stage_key(manifest: Manifest, head: Head, entry: ManifestStage) -> StageKey:
    return StageKey(
        architecture=manifest.architecture,
        arguments=canonical_json(manifest.arguments).decode(),
        head=canonical_json(head.to_json()).decode() if entry.name == HEAD else "",
        name=entry.name,
        digest=entry.digest,
    )


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device, away from the buffer that the whole stage was read into.

    Channels last, as the normalised images are and as convolutions prefer.
    """
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    return tensor.to(device, copy=True, memory_format=layout)


def _size_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in module.state_dict().values())
