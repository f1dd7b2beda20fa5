"""Which operation of an ONNX graph makes an output: whether scores are probabilities is a fact of the graph."""

from pathlib import Path
from typing import TYPE_CHECKING

from workers.loading.output_layout import Squashing

if TYPE_CHECKING:
    import onnx

_SHAPE_ONLY = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"}
_SQUASHING: dict[str, Squashing] = {"Softmax": "softmax", "Sigmoid": "sigmoid", "HardSigmoid": "sigmoid"}
_LINEAR = {"Gemm", "MatMul", "Conv", "Add", "BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"}


def last_operations(path: Path) -> dict[str, Squashing]:
    """Return the last operation on each output that changes more than its shape or type, where it is a known one."""
    import onnx  # noqa: PLC0415 - an entry can be checked without it

    graph = onnx.load(str(path), load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    found = {output.name: _operation(output.name, makers) for output in graph.output}
    return {name: squashing for name, squashing in found.items() if squashing is not None}


def _operation(name: str, makers: "dict[str, onnx.NodeProto]") -> Squashing | None:
    node = makers.get(name)
    while node is not None and node.op_type in _SHAPE_ONLY:
        node = makers.get(node.input[0])
    if node is None:
        return None
    return "none" if node.op_type in _LINEAR else _SQUASHING.get(node.op_type)
