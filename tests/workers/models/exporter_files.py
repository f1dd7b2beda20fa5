"""ONNX files in the layouts that exporters write, around one network whose right answers are known.

The network sees a picture as 8 x 8 cells of equal colour. Each class has a direction in colour space; the score of a
class in a cell is the sigmoid of how far its mean colour lies along it. A detector proposes one box per cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 128
CELLS = 8
PROPOSALS = CELLS * CELLS

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """How a detector's outputs are written.

    Attributes:
        classes: how many.
        packed: one output, or separate ones (None).
        columns_first: a packed output is `[B, X, P]`.
        extra_columns: behind the classes of a packed output.
        labelled: separate outputs with one label and one score each.
        raw: scores are logits; else probabilities.
        background: a class "no object", softmax over all.
        box_format, box_unit: of boxes.
        batch: fixed number of pictures; None takes any.
        half: float16.
        names: of boxes, scores, labels, and of the packed output.
        batch_axis: whether outputs have one (of a fixed batch of one).
        side_input: name of another input than the picture.
    """

    classes: int
    packed: Literal["boxes-scores", "boxes-objectness-scores", "boxes-score-label"] | None = None
    columns_first: bool = False
    extra_columns: int = 0
    labelled: bool = False
    raw: bool = False
    background: Literal["none", "first", "last"] = "none"
    box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    box_unit: Literal["pixels", "fraction"] = "pixels"
    batch: int | None = None
    half: bool = False
    names: Mapping[str, str] = field(default_factory=lambda: {"boxes": "boxes", "scores": "scores", "labels": "labels"})
    batch_axis: bool = True
    side_input: str | None = None

    @property
    def activation(self) -> str:
        """What turns scores into probabilities."""
        if self.background != "none":
            return "softmax" if self.raw else "probabilities"
        return "sigmoid" if self.raw else "probabilities"


def directions(classes: int) -> tuple[Floats, Floats]:
    """Return weights `[C, 3]` and biases `[C]`; class 0 is red, class 1 blue, the others something else."""
    random = np.random.default_rng(classes)
    weights = random.normal(0, 6, (classes, 3)).astype(np.float32)
    weights[0] = [16, -8, -8]
    if classes > 1:
        weights[1] = [-8, -8, 16]
    biases = np.full(classes, -6, np.float32)
    biases[:2] = -4
    return weights, biases


def cell_scores(picture: Floats, classes: int) -> Floats:
    """Return the right scores `[P, C]` of a picture `[3, SIDE, SIDE]` in 0..1."""
    step = SIDE // CELLS
    colors = picture.reshape(3, CELLS, step, CELLS, step).mean((2, 4)).reshape(3, -1)
    weights, biases = directions(classes)
    scores: Floats = 1 / (1 + np.exp(-(weights @ colors + biases[:, None]).T))
    return scores


def corners() -> Floats:
    """Return the right boxes `[P, 4]`, in pixels: each a little smaller than its cell."""
    step = SIDE / CELLS
    rows, columns = np.divmod(np.arange(PROPOSALS), CELLS)
    inset = 1 + (np.arange(PROPOSALS) % 5)
    return np.stack([columns * step + inset, rows * step, (columns + 1) * step, (rows + 1) * step - inset], 1).astype(
        np.float32
    )


def in_layout(boxes: Floats, head: Head) -> Floats:
    """Return boxes as a head writes them."""
    x0, y0, x1, y1 = boxes.T
    if head.box_format == "cxcywh":
        boxes = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)
    elif head.box_format == "xywh":
        boxes = np.stack([x0, y0, x1 - x0, y1 - y0], 1)
    return (boxes / (SIDE if head.box_unit == "fraction" else 1)).astype(np.float32)


class _Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, operation: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        output = f"{operation} {len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, names, [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        name = f"constant {len(self.constants)}"
        self.constants[name] = value
        return name

    def write(
        self, path: Path, outputs: Mapping[str, tuple[str, int]], inputs: list[Any], metadata: Mapping[str, str]
    ) -> None:
        """Write the file; `outputs` gives for each name what it is made of, and its type."""
        nodes = [*self.nodes, *(helper.make_node("Identity", [made], [name]) for name, (made, _) in outputs.items())]
        results = [helper.make_tensor_value_info(name, kind, None) for name, (_, kind) in outputs.items()]
        held = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(nodes, "graph", inputs, results, held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        helper.set_model_props(model, dict(metadata))
        onnx.save(model, path)


def _class_logits(graph: _Graph, classes: int, *, half: bool) -> str:
    """Add the network; return the name of its logits `[B, P, C]`."""
    weights, biases = directions(classes)
    picture = graph.add("Cast", "images", to=TensorProto.FLOAT) if half else "images"
    step = SIDE // CELLS
    cells = graph.add("AveragePool", picture, kernel_shape=[step, step], strides=[step, step])
    logits = graph.add("Conv", cells, weights[:, :, None, None], biases)
    flat = graph.add("Reshape", logits, np.array([0, classes, -1]))
    return graph.add("Transpose", flat, perm=[0, 2, 1])


def _inputs(batch: int | None, *, half: bool, side_input: str | None = None) -> list[Any]:
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    first: int | str = batch or "batch"
    given = [helper.make_tensor_value_info("images", kind, [first, 3, SIDE, SIDE])]
    if side_input is not None:
        kinds = {"orig_target_sizes": TensorProto.INT64}
        given.append(helper.make_tensor_value_info(side_input, kinds.get(side_input, TensorProto.FLOAT), [first, 2]))
    return given


def write_classifier(
    path: Path,
    classes: int,
    *,
    ends: Literal["none", "sigmoid", "softmax"],
    batch: int | None = None,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a classifier: per class the largest logit of any cell, then what `ends` says."""
    graph = _Graph()
    logits = graph.add("ReduceMax", _class_logits(graph, classes, half=half), np.array([1]), keepdims=0)
    if ends != "none":
        logits = graph.add({"sigmoid": "Sigmoid", "softmax": "Softmax"}[ends], logits)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph.write(path, {"output": (graph.add("Cast", logits, to=kind), kind)}, _inputs(batch, half=half), metadata or {})


def write_segmenter(path: Path, classes: int, *, ends: Literal["none", "sigmoid"]) -> None:
    """Write a segmentation model: the classes' logits of each cell, `[B, C, CELLS, CELLS]`, then what `ends` says."""
    graph = _Graph()
    flat = graph.add("Transpose", _class_logits(graph, classes, half=False), perm=[0, 2, 1])
    maps = graph.add("Reshape", flat, np.array([0, classes, CELLS, CELLS]))
    if ends == "sigmoid":
        maps = graph.add("Sigmoid", maps)
    graph.write(path, {"out": (maps, TensorProto.FLOAT)}, _inputs(None, half=False), {})


def write_detector(path: Path, head: Head, metadata: Mapping[str, str] | None = None) -> None:
    """Write a detector with a head."""
    graph = _Graph()
    logits = _class_logits(graph, head.classes, half=head.half)
    nothing = graph.add(
        "Mul", graph.add("ReduceMean", logits, np.array([1, 2])), np.float32(0) * np.ones(1, np.float32)
    )
    boxes = graph.add("Add", nothing, in_layout(corners(), head)[None])
    if head.side_input == "orig_target_sizes":  # because the exporters of RT-DETR scale boxes by it
        sizes = graph.add("Cast", head.side_input, to=TensorProto.FLOAT)
        fractions = in_layout(corners() / np.float32(SIDE), head)
        scale = graph.add("Unsqueeze", graph.add("Concat", sizes, sizes, axis=1), np.array([1]))
        boxes = graph.add("Mul", scale, fractions[None])
    scores = _scores(graph, head, logits)
    parts = _parts(graph, head, boxes, scores)
    kind = TensorProto.FLOAT16 if head.half else TensorProto.FLOAT
    outputs = {}
    for name, (made, integer) in parts.items():
        shaped = made if head.batch_axis else graph.add("Squeeze", made, np.array([0]))
        outputs[name] = (shaped, TensorProto.INT64) if integer else (graph.add("Cast", shaped, to=kind), kind)
    graph.write(path, outputs, _inputs(head.batch, half=head.half, side_input=head.side_input), metadata or {})


def _scores(graph: _Graph, head: Head, logits: str) -> str:
    """Return scores `[B, P, C]`, with a background C + 1, as the head writes them."""
    if head.background == "none" or head.labelled:
        return logits if head.raw else graph.add("Sigmoid", logits)
    # Softmax over "no object" (0) and the classes gives what is said to be right only where one class stands out.
    nothing = graph.add("Mul", graph.add("ReduceMax", logits, np.array([2])), np.zeros(1, np.float32))
    order = (nothing, logits) if head.background == "first" else (logits, nothing)
    whole = graph.add("Concat", *order, axis=2)
    return whole if head.raw else graph.add("Softmax", whole)


def _parts(graph: _Graph, head: Head, boxes: str, scores: str) -> dict[str, tuple[str, bool]]:
    """Return outputs by name: what they are made of, and whether they are whole numbers."""
    if head.packed is None and not head.labelled:
        return {head.names["boxes"]: (boxes, False), head.names["scores"]: (scores, False)}
    best = graph.add("ReduceMax", scores, np.array([2]))
    label = graph.add("ArgMax", scores, axis=2, keepdims=1)
    if head.background == "first":
        label = graph.add("Add", label, np.ones(1, np.int64))
    if head.labelled:
        axis = np.array([2])
        return {
            head.names["labels"]: (graph.add("Squeeze", label, axis), True),
            head.names["boxes"]: (boxes, False),
            head.names["scores"]: (graph.add("Squeeze", best, axis), False),
        }
    columns = [boxes]
    if head.packed == "boxes-score-label":
        columns += [best, graph.add("Cast", label, to=TensorProto.FLOAT)]
    elif head.packed == "boxes-objectness-scores":
        columns += [best, graph.add("Div", scores, best)]
    else:
        columns += [scores]
    if head.extra_columns:
        spread = np.linspace(-3, 3, PROPOSALS * head.extra_columns, dtype=np.float32)
        nothing = graph.add("Mul", best, np.zeros(1, np.float32))
        columns.append(graph.add("Add", nothing, spread.reshape(1, PROPOSALS, head.extra_columns)))
    packed = graph.add("Concat", *columns, axis=2)
    if head.columns_first:
        packed = graph.add("Transpose", packed, perm=[0, 2, 1])
    outputs = {head.names.get("packed", "output0"): (packed, False)}
    if head.extra_columns == 32:  # coefficients of masks, which come with the masks themselves
        masks = graph.add("Expand", graph.add("Unsqueeze", best, np.array([3])), np.array([1, 1, 1, 1]))
        pooled = graph.add("ReduceMean", masks, np.array([1, 2, 3]))
        outputs["output1"] = (graph.add("Expand", pooled, np.array([1, 32, 16, 16])), False)
    return outputs
