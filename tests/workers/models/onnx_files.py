"""Small ONNX files whose answers are known, and those of the demo networks."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

Side = int | str


def export(network: nn.Module, images: Tensor, path: Path, outputs: Sequence[str], *, fixed: bool = False) -> None:
    """Write a network as an ONNX file, with its weights in a file beside it."""
    shapes = None if fixed else ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            network, (images,), path, input_names=["images"], output_names=outputs, dynamic_shapes=shapes, verbose=False
        )


def describe(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Write a copy of an ONNX file, with all of its weights inside, that says something about itself."""
    model = onnx.load(source)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, target)


def mean_color(path: Path, shape: Sequence[Side], kind: int = TensorProto.FLOAT, *, inputs: int = 1) -> None:
    """Write a classifier whose scores are the mean of each channel."""
    axes = [1, 2] if shape[-1] in {3, "c"} else list(range(2, len(shape)))
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["logits"], keepdims=0),
    ]
    given = [helper.make_tensor_value_info(name, kind, shape) for name in ("images", "sizes")[:inputs]]
    write(path, nodes, given, ["logits"], {"axes": np.array(axes)})


def constant(path: Path, outputs: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write a model of one picture of 64 x 96 pixels: these outputs for black, nearly these for any other."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["change"]),
    ]
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        nodes += [
            helper.make_node("Cast", ["change"], [f"{name} change"], to=kind),
            helper.make_node("Add", [f"{name} constant", f"{name} change"], [name]),
        ]
    held: dict[str, NDArray[Any]] = {f"{name} constant": value for name, value in outputs.items()}
    held["little"] = np.array(1e-6, np.float32)
    given = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 96])]
    write(path, nodes, given, list(outputs), held, metadata or {})


def enormous(path: Path) -> None:
    """Write a classifier that asks for more memory than there is."""
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["one"]),
        helper.make_node("Expand", ["one", "shape"], ["all"]),
        helper.make_node("ReduceMax", ["all", "spatial"], ["logits"], keepdims=0),
    ]
    given = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    held = {"axes": np.array([1, 2, 3]), "shape": np.array([1, 2, 10**7, 10**6]), "spatial": np.array([2, 3])}
    write(path, nodes, given, ["logits"], held)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    held: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in held.items()}
    results = [
        helper.make_tensor_value_info(name, kinds.get(f"{name} constant", TensorProto.FLOAT), None) for name in outputs
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "graph", inputs, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
