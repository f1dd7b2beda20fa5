"""Loader `exported`: an archive of `torch.export` (`.pt2`), or one compiled ahead of time (AOTInductor).

`source` is the archive's path. No Python of the model is needed, and none is run: reading an archive with
`torch.export.load` can unpickle and evaluate parts of it, so that `workers/loading/pt2_scanner.py` first refuses what
could; TorchScript is a pickle and is refused by its name. Conditions on sizes that an archive states as Python are not
compiled. A compiled archive is a program, and is run only where `[MODEL.options]` says `compiled = true`.

Extra files of the archive (`extra_files` of `torch.export.save`) may say the task, labels, preprocessing and outputs;
`workers/loading/metadata.py` names them. Outputs have the keys of the dictionary that the model returns, else their
places: `"0"`, `"1"`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox
from workers.loading.graph_model import Graph, black_box_of
from workers.loading.metadata import merge_metadata
from workers.loading.pt2_scanner import Archive, scan_archive
from workers.model_io.image_input import ImageInput, Layout, Run, image_input
from workers.model_io.model_entry import ModelEntry
from workers.model_io.outputs import Outputs

_DTYPES = {torch.float32, torch.float16, torch.bfloat16, torch.uint8}


class ExportedOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    layout: Layout | None = Field(None, description="Order of the input's axes, where its shape does not tell.")
    compiled: bool = Field(False, description="The archive holds machine code (AOTInductor), and may run it.")
    batch: int | None = Field(
        None, ge=1, description="Pictures that a compiled model takes at once, neither more nor fewer; default: any."
    )


OPTIONS: type[RequestModel] = ExportedOptions


def load(entry: ModelEntry, options: ExportedOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Load an archive.

    Raises:
        ValueError: if the archive is missing, broken or may run code, takes no pictures, or does not fit its entry.
    """
    if entry.precision or entry.compile or entry.channels_last:
        raise ValueError("precision, compile, channels_last: an archive has its own; leave them out")
    archive = scan_archive(folder / entry.source)
    if archive.compiled != options.compiled:
        words = "machine code; say compiled = true to run it as a program" if archive.compiled else "no machine code"
        raise ValueError(f"options.compiled: {archive.path} holds {words}")
    make = _compiled if archive.compiled else _program
    try:
        graph = make(archive, entry, options, device)
    except (RuntimeError, AssertionError, OSError) as cause:
        raise ValueError(f"{archive.path}: torch {torch.__version__} cannot read it: {cause}") from cause
    return black_box_of(graph, entry, folder=folder)


def _program(archive: Archive, entry: ModelEntry, options: ExportedOptions, device: torch.device) -> Graph:  # noqa: ARG001 - as _compiled
    program = torch.export.load(archive.path)
    spec = _input_of(program, options)
    # Because a graph is bound to the device that it was traced on.
    module = move_to_device_pass(program, str(device)).module(check_guards=False)
    return Graph(_runner(module), spec, archive.metadata, (archive.path,), device)


def _input_of(program: ExportedProgram, options: ExportedOptions) -> ImageInput:
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        listed = ", ".join(map(str, names))
        raise ValueError(f"the model takes {len(names)} inputs ({listed}); it should take pictures and nothing else")
    (value,) = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name == names[0]]
    if value.dtype not in _DTYPES:
        raise ValueError(f"the model's input is {value.dtype}; known are float32, float16, bfloat16 and uint8")
    spec = image_input([_fixed(side) for side in value.shape], options.layout, value.dtype)
    return spec if spec.most else _within(spec, program, value.shape[0])


def _fixed(side: int | torch.SymInt) -> int | None:
    return side if isinstance(side, int) else None


def _within(spec: ImageInput, program: ExportedProgram, batch: torch.SymInt) -> ImageInput:
    """Return the input with the largest batch that the archive was exported for."""
    most = program.range_constraints[batch.node.expr].upper
    return spec if not most.is_Integer else ImageInput(spec.layout, spec.channels, spec.size, spec.dtype, 1, int(most))


def _compiled(archive: Archive, entry: ModelEntry, options: ExportedOptions, device: torch.device) -> Graph:
    from torch._inductor import aoti_load_package  # noqa: PLC0415 - it brings a compiler along

    model = aoti_load_package(str(archive.path))
    made_for = model.get_metadata().get("AOTI_DEVICE_KEY", device.type)
    if made_for != device.type:
        raise ValueError(f"{archive.path}: it was compiled for {made_for}, but the model computes on {device.type}")
    declared = merge_metadata(entry, archive.metadata).preprocessing
    spec = ImageInput(options.layout or "nchw", 1 if declared.channels == "grey" else 3, None)
    if options.batch:
        spec = ImageInput(spec.layout, spec.channels, None, least=options.batch, most=options.batch)
    return Graph(_runner(model), spec, archive.metadata, (archive.path,), device)


def _runner(model: Callable[[Tensor], Any]) -> Run:
    return lambda images: _named(model(images))


def _named(result: Any) -> Outputs:
    """Return a model's result as outputs by their names, or places."""
    if isinstance(result, Tensor):
        return {"0": result}
    pairs = result.items() if isinstance(result, Mapping) else ((str(place), part) for place, part in enumerate(result))
    return {name: part for name, part in pairs if isinstance(part, Tensor)}
