"""Loader `onnx`: an ONNX file, run by ONNX Runtime; on a CPU the fastest of all loaders.

`source` is the file's path. Its metadata (`custom_metadata_map`) may say the task, labels, preprocessing and outputs;
`workers/loading/metadata.py` names the keys, Ultralytics' among them. Files with external data count with the model.
On a GPU this needs the package `onnxruntime-gpu`. TensorRT is used where `providers` asks for it, and not of itself,
because it builds an engine for every batch size first, which takes minutes.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from app.contract.schemas import RequestModel
from workers.blackbox import BlackBox
from workers.loading.graph_model import Graph, black_box_of
from workers.loading.onnx_operations import last_operations
from workers.model_io.image_input import ImageInput, Layout, Run, SideInput, described, image_input, side_inputs
from workers.model_io.model_entry import ModelEntry
from workers.model_io.outputs import Outputs

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

Provider = Literal["cpu", "cuda", "tensorrt"]

_NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}
_NUMPY = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32"}
_NO_MEMORY = ("failed to allocate", "bad allocation", "bad_alloc", "out of memory")


class OnnxOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    providers: list[Provider] | None = Field(
        None, min_length=1, description="Execution providers, the preferred one first; default: those of the device."
    )
    threads: int | None = Field(None, ge=1, description="On a CPU; default: as many as torch has (OMP_NUM_THREADS).")
    layout: Layout | None = Field(None, description="Order of the input's axes, where its shape does not tell.")
    inputs: dict[str, list[float]] = Field(
        default_factory=dict, description="What other inputs than the picture are given, for each picture."
    )


OPTIONS: type[RequestModel] = OnnxOptions


def load(entry: ModelEntry, options: OnnxOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Load an ONNX file.

    Raises:
        ValueError: if the file is missing or broken, takes no pictures, or does not fit its entry.
    """
    if entry.precision or entry.compile or entry.channels_last:
        raise ValueError("precision, compile, channels_last: an ONNX file has its own; leave them out")
    path = folder / entry.source
    files = (path, *_external_files(path))
    session = _session(path, options, device)
    device = _device_of(session, device)
    picture = _picture_of(session.get_inputs())
    given = _input_of(picture, options)
    constants = side_inputs([one.name for one in session.get_inputs() if one is not picture], options.inputs)
    run = _runner(session, device, picture, constants, given.layout)
    metadata = session.get_modelmeta().custom_metadata_map
    return black_box_of(Graph(run, given, metadata, files, device, last_operations(path)), entry, folder=folder)


def _external_files(path: Path) -> Iterator[Path]:
    """Yield the files that hold weights of an ONNX file, each once.

    Raises:
        ValueError: if the file or one of them is missing, or the file is no ONNX file.
    """
    import onnx  # noqa: PLC0415 - an entry can be checked without it
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as cause:
        raise ValueError(f"{path}: this is no ONNX file, or a part of one only") from cause
    held = (tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL)
    places = chain.from_iterable(tensor.external_data for tensor in held)
    for name in sorted({place.value for place in places if place.key == "location"}):
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: its weights lie in {name}, and there is no such file beside it")
        yield path.parent / name


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    """Yield the constant tensors of a graph and of the graphs inside it."""
    yield from graph.initializer
    for attribute in chain.from_iterable(node.attribute for node in graph.node):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _session(path: Path, options: OnnxOptions, device: torch.device) -> Any:
    import onnxruntime  # noqa: PLC0415

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or torch.get_num_threads()
    # Because torch blends the next masked images while nothing runs here, threads that wait must not keep cores busy.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(options, device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as cause:  # because each kind of failure has a class of its own
        raise ValueError(f"{path}: {cause}") from cause


def _providers(options: OnnxOptions, device: torch.device, there: Sequence[str]) -> list[Any]:
    """Return what runs the model, the preferred provider first.

    Raises:
        ValueError: if one is asked for that is not there.
    """
    asked = options.providers
    if asked is not None and (missing := [name for name in asked if _NAMES[name] not in there]):
        known = ", ".join(name for name, full in _NAMES.items() if full in there)
        raise ValueError(f"options.providers: {', '.join(missing)} is not there; this ONNX Runtime has {known}")
    wanted: list[Provider] = asked or (["cuda", "cpu"] if device.type == "cuda" else ["cpu"])
    on_gpu = {"device_id": device.index or 0}
    return [(_NAMES[name], {} if name == "cpu" else on_gpu) for name in wanted if _NAMES[name] in there]


def _device_of(session: Any, device: torch.device) -> torch.device:
    """Return where a session runs; ONNX Runtime falls back to the CPU of itself."""
    if session.get_providers()[0] != _NAMES["cpu"]:
        return torch.device("cuda", device.index or 0)
    if device.type == "cuda":
        logger.warning("ONNX Runtime does not reach the GPU and uses the CPU; is onnxruntime-gpu installed?")
    return torch.device("cpu")


def _picture_of(inputs: Sequence[Any]) -> Any:
    """Return the input that takes pictures: the only one, or the only one with as many axes."""
    if len(inputs) == 1:
        return inputs[0]
    pictures = [one for one in inputs if len(one.shape) in {3, 4}]
    if len(pictures) != 1:
        names = ", ".join(f"{one.name} {described(_sides(one))}" for one in inputs)
        raise ValueError(f"the model takes {len(inputs)} inputs ({names}); one of them should take pictures")
    return pictures[0]


def _sides(one: Any) -> list[int | None]:
    return [side if isinstance(side, int) and side > 0 else None for side in one.shape]


def _input_of(picture: Any, options: OnnxOptions) -> ImageInput:
    dtype = _DTYPES.get(picture.type)
    if dtype is None:
        raise ValueError(f"the model's input is a {picture.type}; known are {', '.join(_DTYPES)}")
    shape = _sides(picture)
    try:
        return image_input(shape, options.layout, dtype)
    except ValueError as cause:
        raise ValueError(f"{picture.name} {described(shape)}: {cause}") from cause


def _runner(
    session: Any, device: torch.device, picture: Any, constants: Mapping[str, SideInput], layout: Layout
) -> Run:
    """Return the session as a function of tensors; pictures and outputs change hands without a copy."""
    from onnxruntime import OrtValue  # noqa: PLC0415

    types = {one.name: one.type for one in session.get_inputs()}
    names = [output.name for output in session.get_outputs() if output.type.startswith("tensor(")]

    def run(images: Tensor) -> Outputs:
        binding = session.io_binding()
        binding.bind_ortvalue_input(picture.name, OrtValue.from_dlpack(images))
        held = []  # because the binding does not own what it is given
        for name, constant in constants.items():
            values = np.asarray(constant(_size_of(images, layout)), dtype=_NUMPY[types[name]])
            rows = np.tile(values, (len(images) if images.dim() == 4 else 1, 1))
            held.append(OrtValue.ortvalue_from_numpy(rows))
            binding.bind_ortvalue_input(name, held[-1])
        for name in names:
            binding.bind_output(name, device.type, device.index or 0)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # because ONNX Runtime has a stream of its own
        _run(session, binding)
        values = binding.get_outputs()
        return {name: from_dlpack(value) for name, value in zip(names, values, strict=True)}

    return run


def _size_of(images: Tensor, layout: Layout) -> tuple[int, int]:
    """Return height and width of pictures as the graph takes them."""
    sides = images.shape[-2:] if layout == "nchw" else images.shape[-3:-1]
    return sides[0], sides[1]


def _run(session: Any, binding: Any) -> None:
    """Run once.

    Raises:
        OutOfMemoryError: torch's, so that the loop tries smaller batches.
    """
    try:
        session.run_with_iobinding(binding)
    except RuntimeError as cause:  # because ONNX Runtime tells kinds of failure apart in words only
        if any(words in str(cause).lower() for words in _NO_MEMORY):
            raise torch.OutOfMemoryError(str(cause)) from cause
        raise
