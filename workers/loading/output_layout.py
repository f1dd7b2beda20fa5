"""What raw outputs mean where neither the models file nor the model's own file says it: read from probe pictures.

A conclusion is drawn where the outputs contradict every other one. What two layouts explain equally well is refused,
with the line to write in the models file.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from app.contract.schemas import AssumptionSource
from workers.blackbox import Activation
from workers.model_io.model_entry import BoxFormat, BoxUnit, OutputsEntry
from workers.model_io.outputs import (
    FIXED_COLUMNS,
    Outputs,
    packed_output,
    raw_boxes,
    raw_labels,
    raw_objectness,
    raw_scores,
    to_corners,
)

Squashing = Literal["softmax", "sigmoid", "none"]
"""The last operation of a graph on an output: it makes probabilities, or none that does (a linear layer, say)."""

Sources = dict[str, AssumptionSource]

_NEARLY = 1e-3
_ENOUGH_ROWS = 8  # distinct boxes from which a conclusion is drawn
_PLAUSIBLE = 0.95  # share of boxes that the right layout explains
_IMPLAUSIBLE = 0.8  # and at most, the next best
_FRACTION = 1.5  # a box in fractions of the input may stand out by half of it, one in pixels is larger
_OUTSIDE = (0.02, 0.05, 0.1)  # of the input's side, by which boxes may stand out
_HALF = 0.5


class Derived(NamedTuple):
    """An entry in which nothing is open, and for each field that was open, how it was found out."""

    entry: OutputsEntry
    sources: Sources


def classifier_activation(
    said: Activation | None, scores: Tensor, squashed: Squashing | None
) -> tuple[Activation, AssumptionSource]:
    """Return what turns a classifier's scores `[B, C]` into probabilities, and how that is known.

    Args:
        said: by the models file or the model's own.
        scores: of the probe pictures.
        squashed: the graph's last operation on them; None where it is not known.

    Raises:
        ValueError: where what is said contradicts the outputs.
    """
    scores = scores.float()
    within = bool(((scores >= -_NEARLY) & (scores <= 1 + _NEARLY)).all())
    add_up = within and bool(((scores.sum(1) - 1).abs() < _NEARLY).all()) and scores.shape[1] > 1
    if said is not None:
        _check_activation(said, scores, squashed, within=within, add_up=add_up)
        return said, "entry"
    if squashed in {"softmax", "sigmoid"}:
        return "probabilities", "file"
    if scores.shape[1] == 1:
        return ("probabilities", "checked") if within and squashed is None else ("sigmoid", "checked")
    if add_up or (within and squashed is None):
        return "probabilities", "checked"
    return "softmax", "convention"


def _check_activation(
    said: Activation, scores: Tensor, squashed: Squashing | None, *, within: bool, add_up: bool
) -> None:
    low, high = float(scores.min()), float(scores.max())
    if said == "softmax" and scores.shape[1] == 1:
        raise ValueError('outputs.activation: softmax of one score is always 1; write activation = "sigmoid"')
    if said == "probabilities" and not within:
        words = f"scores from {low:.3g} to {high:.3g} are no probabilities"
        raise ValueError(f'outputs.activation: {words}; write activation = "softmax" or "sigmoid"')
    if said != "probabilities" and (add_up or squashed in {"softmax", "sigmoid"}):
        words = f"the model gives probabilities already; {said} would be applied twice"
        raise ValueError(f'outputs.activation: {words}: write activation = "probabilities"')


def derive_detector(said: OutputsEntry, outputs: Outputs, *, labels: int | None, size: tuple[int, int]) -> Derived:
    """Return what a detector's outputs mean.

    Args:
        said: by the models file and the model's own.
        outputs: for probe pictures, by name.
        labels: number of names; None where there are none.
        size: height and width of the probe pictures.

    Raises:
        ValueError: naming the line to write, for what cannot be known; or what is said that contradicts the outputs.
    """
    sources: Sources = {}
    entry = said
    if entry.packed is not None:
        entry = _with(entry, sources, columns_first=_columns_first(entry, outputs, labels))
    entry = _with_activation(entry, outputs, sources)
    entry = _with_background(entry, outputs, labels, sources)
    boxes = raw_boxes(outputs, entry)
    return Derived(_with_box_layout(entry, boxes, size, sources), sources)


def _with(entry: OutputsEntry, sources: Sources, **found: Any) -> OutputsEntry:
    """Return an entry with fields that were open, noting that they were read from the outputs."""
    new = {name: value for name, value in found.items() if getattr(entry, name) is None and value is not None}
    sources.update(dict.fromkeys(new, "checked"))
    return entry.model_copy(update=new)


def _columns_first(entry: OutputsEntry, outputs: Outputs, labels: int | None) -> bool | None:
    """Return whether a packed output is `[B, X, P]`, X numbers of each of P proposals, and not `[B, P, X]`."""
    if entry.columns_first is not None:
        return entry.columns_first
    whole = packed_output(outputs, entry)
    if whole.dim() != 3:
        raise ValueError(f"the packed output has shape {list(whole.shape)}; it should have three axes")
    first, last = whole.shape[1:]
    width = _width(entry, labels)
    if width is not None:
        if width not in {first, last}:
            raise ValueError(_width_message((first, last), labels, entry.extra_columns or 0))
        fits = {first == width, last != width} if first != last else {True, False}
    else:
        fits = {columns for columns in (True, False) if _are_scores(whole, entry, columns)}
    if len(fits) != 1:
        words = f"the packed output has shape {list(whole.shape)}, and either side may hold the numbers of a proposal"
        told = "write columns_first = true for [batch, numbers, proposals], false for [batch, proposals, numbers]"
        raise ValueError(f"outputs.columns_first: {words}; {told}")
    return fits.pop()


def _width(entry: OutputsEntry, labels: int | None) -> int | None:
    """Return how many numbers a proposal has; None where that depends on how many classes there are."""
    assert entry.packed is not None
    fixed = FIXED_COLUMNS[entry.packed] + (entry.extra_columns or 0)
    if entry.packed == "boxes-score-label":
        return fixed
    return None if labels is None else fixed + labels


def _are_scores(whole: Tensor, entry: OutputsEntry, columns_first: bool) -> bool:
    """Return whether all numbers are probabilities that would be objectness and scores."""
    rows = whole.mT if columns_first else whole
    scores = rows[..., 4 : rows.shape[-1] - (entry.extra_columns or 0)].float()
    return scores.shape[-1] > 0 and bool(((scores >= -_NEARLY) & (scores <= 1 + _NEARLY)).all())


def _width_message(sides: tuple[int, int], labels: int | None, extra: int) -> str:
    words = f"neither side of the packed output, {sides[0]} and {sides[1]}, holds the numbers of a proposal"
    widths = {
        packed: columns + extra + (0 if packed == "boxes-score-label" else labels or 0)
        for packed, columns in FIXED_COLUMNS.items()
    }
    kinds = ", ".join(f'"{packed}" has {width}' for packed, width in widths.items())
    told = f"write packed ({kinds}), and extra_columns, how many more stand behind the classes"
    return f"outputs.packed: {words}{'' if labels is None else f' for {labels} labels'}; {told}"


def _with_activation(entry: OutputsEntry, outputs: Outputs, sources: Sources) -> OutputsEntry:
    scores = raw_scores(outputs, entry)
    if not scores.numel():
        return entry
    low, high = float(scores.min()), float(scores.max())
    within = low >= -_NEARLY and high <= 1 + _NEARLY
    if entry.activation in {None, "probabilities"} and not within:
        words = f"scores from {low:.3g} to {high:.3g} are no probabilities"
        raise ValueError(f'outputs.activation: {words}; write activation = "sigmoid" or "softmax"')
    return _with(entry, sources, activation="probabilities")


def _with_background(entry: OutputsEntry, outputs: Outputs, labels: int | None, sources: Sources) -> OutputsEntry:
    indices = _label_indices(outputs, entry)
    if indices is not None and indices.numel() and labels is not None and int(indices.max()) > labels:
        raise ValueError(f"labels: {labels} names, and the model gives label {int(indices.max())}")
    if entry.background is not None:
        return entry
    if indices is not None:
        return _with(entry, sources, background=_background_of_indices(indices, labels))
    scores = raw_scores(outputs, entry).float()
    classes = scores.shape[-1]
    # Because probabilities of classes beside an objectness add up without a "no object" among them.
    alone = raw_objectness(outputs, entry) is None
    add_up = alone and classes > 1 and bool(((scores.sum(-1) - 1).abs() < _NEARLY).all())
    if (labels is not None and classes != labels) or (alone and entry.activation == "softmax") or add_up:
        words = f"scores of {classes} classes{'' if labels is None else f' for {labels} labels'}"
        told = 'write background = "first" or "last" where one of them is "no object", else "none"'
        raise ValueError(f"outputs.background: {words}; {told}")
    return _with(entry, sources, background="none")


def _label_indices(outputs: Outputs, entry: OutputsEntry) -> Tensor | None:
    """Return the labels of proposals that are any, None where proposals have a score for each class."""
    labels = raw_labels(outputs, entry)
    return None if labels is None else labels[raw_scores(outputs, entry) > 0]


def _background_of_indices(indices: Tensor, labels: int | None) -> Literal["none", "first"]:
    """Return whether labels count from 1, because 0 is the background."""
    first, last = (int(indices.min()), int(indices.max())) if indices.numel() else (None, None)
    if first == 0 and last == labels:
        raise ValueError(f"labels: {labels} names, and the model gives labels from 0 to {last}")
    if first == 0:
        return "none"
    if last is not None and last == labels:
        return "first"
    told = 'write background = "none" where 0 is the first class, "first" where it is 1'
    raise ValueError(f"outputs.background: the labels of probe pictures do not tell from where they count; {told}")


def _with_box_layout(entry: OutputsEntry, boxes: Tensor, size: tuple[int, int], sources: Sources) -> OutputsEntry:
    """Return the entry with format and unit of boxes `[B, P, 4]`."""
    rows = boxes.reshape(-1, 4).float()
    rows = rows[rows.abs().sum(1) > _NEARLY]
    rows = torch.unique(rows, dim=0)  # because detectors fill up by zeros
    _check_boxes(entry, rows, size)
    found = None
    if len(rows) >= (_ENOUGH_ROWS if entry.box_format is None else 1):
        conclusions = (_best_box_layout(entry, rows, size, outside) for outside in _OUTSIDE)
        found = next((conclusion for conclusion in conclusions if conclusion is not None), None)
    if found is not None:
        return _with(entry, sources, box_format=found[0], box_unit=found[1])
    open_fields = [name for name in ("box_format", "box_unit") if getattr(entry, name) is None]
    if open_fields:
        raise ValueError(_box_message(open_fields, len(rows)))
    return entry


def _best_box_layout(
    entry: OutputsEntry, rows: Tensor, size: tuple[int, int], outside: float
) -> tuple[BoxFormat, BoxUnit] | None:
    """Return the only format and unit that explain nearly all boxes and do not contradict the entry."""
    shares = _shares(entry, rows, size, outside)
    likely = [key for key, share in shares.items() if share > _IMPLAUSIBLE]
    return likely[0] if len(likely) == 1 and shares[likely[0]] >= _PLAUSIBLE else None


def _shares(
    entry: OutputsEntry, rows: Tensor, size: tuple[int, int], outside: float
) -> dict[tuple[BoxFormat, BoxUnit], float]:
    """Return for each format and unit that do not contradict the entry the share of boxes that they explain."""
    return {
        (form, unit): _share_of_boxes(rows, OutputsEntry(box_format=form, box_unit=unit), size, outside)
        for form, unit in product(get_args(BoxFormat), get_args(BoxUnit))
        if entry.box_format in {None, form} and entry.box_unit in {None, unit}
    }


def _check_boxes(entry: OutputsEntry, rows: Tensor, size: tuple[int, int]) -> None:
    """Check that what is said of boxes makes most of them boxes.

    Raises:
        ValueError: with the line to write where another format or unit would.
    """
    if len(rows) < _ENOUGH_ROWS and entry.box_unit is None:
        return
    if not len(rows):
        return
    share = max(_shares(entry, rows, size, _OUTSIDE[-1]).values())
    if share >= _HALF:
        return
    words = f"only {share:.0%} of the boxes for probe pictures lie in the picture, with corners in order"
    better = next(
        (found for outside in _OUTSIDE if (found := _best_box_layout(OutputsEntry(), rows, size, outside))), None
    )
    told = f'; write box_format = "{better[0]}", box_unit = "{better[1]}"' if better else ""
    raise ValueError(f"outputs.box_format, box_unit: {words}{told}")


def _share_of_boxes(rows: Tensor, entry: OutputsEntry, size: tuple[int, int], outside: float) -> float:
    """Return the share of rows that are boxes in the picture, of more than a pixel, if they mean what an entry says."""
    if (entry.box_unit == "fraction") != (float(rows.abs().amax()) <= _FRACTION):
        return 0.0
    corners = to_corners(rows, entry, size)
    extent = corners.new_tensor([size[1], size[0]])
    inside = ((corners[:, :2] >= -outside * extent) & (corners[:, 2:] <= (1 + outside) * extent)).all(1)
    large = (corners[:, 2:] - corners[:, :2] > 1).all(1)
    return float((inside & large).float().mean())


def _box_message(fields: list[str], rows: int) -> str:
    choices: Mapping[str, tuple[str, ...]] = {"box_format": get_args(BoxFormat), "box_unit": get_args(BoxUnit)}
    lines = " and ".join(f"{name} = {' or '.join(map(repr, choices[name]))}".replace("'", '"') for name in fields)
    return f"outputs.{', '.join(fields)}: {rows} boxes for probe pictures do not tell; write {lines}"


def check_that_outputs_change(outputs: Outputs) -> None:
    """Check that a model's outputs are not the same for every probe picture.

    Raises:
        ValueError: if all are.
    """
    floats = [output for output in outputs.values() if output.numel() and output.is_floating_point()]
    if floats and len(floats[0]) > 1 and all(bool((output == output[:1]).all()) for output in floats):
        words = "the outputs are the same for each of several different pictures"
        raise ValueError(f"preprocessing: {words}; mean and std may turn every picture into the same one")
