"""A server of the Open Inference Protocol v2 for tests, written from the protocol and not from our client."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.loopback import Asked, Loopback, Reply, loopback

Array = NDArray[Any]
Compute = Callable[[Array], dict[str, Array]]
Trouble = Callable[[int, Array, dict[str, Array]], Reply | dict[str, Array]]
"""Number of the request from 0, pictures, right outputs -> another reply, or other outputs."""

KINDS = {"FP32": np.float32, "FP64": np.float64, "FP16": np.float16, "UINT8": np.uint8, "INT64": np.int64}
NAMES = {np.dtype(kind): name for name, kind in KINDS.items()}


def no_trouble(_: int, __: Array, outputs: dict[str, Array]) -> dict[str, Array]:
    return outputs


@dataclass
class ServedModel:
    """One model of the server.

    Attributes:
        compute: pictures as they arrive -> outputs by name.
        shape: of the input, as the metadata says it.
        datatype: likewise.
        binary_only: refuses numbers in JSON.
        trouble: what goes wrong.
        version: that answers say.
        batches: the shapes that arrived.
    """

    compute: Compute
    shape: list[int]
    datatype: str = "FP32"
    binary_only: bool = False
    trouble: Trouble = no_trouble
    version: str = "1"
    batches: list[tuple[int, ...]] = field(default_factory=list)


def serve(models: dict[str, ServedModel], *, binary: bool = True) -> AbstractContextManager[Loopback]:
    """Run a server with some models; `binary` says whether it lists, and understands, binary tensors."""

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v2":
            return _json({"name": "test", "version": "1", "extensions": ["binary_tensor_data"] if binary else []})
        name, _, rest = asked.path.removeprefix("/v2/models/").partition("/")
        if name not in models:
            return _json({"error": f"there is no model {name!r}"}, 404)
        model = models[name]
        return _infer(model, asked, binary) if rest.endswith("infer") else _json(_metadata(name, model))

    return loopback(answer)


def _metadata(name: str, model: ServedModel) -> dict[str, Any]:
    inputs = [{"name": "pixels", "datatype": model.datatype, "shape": model.shape}]
    return {"name": name, "versions": [model.version], "platform": "test", "inputs": inputs, "outputs": []}


def _infer(model: ServedModel, asked: Asked, binary: bool) -> Reply:
    length = int(asked.headers.get("inference-header-content-length", len(asked.body)))
    body, raw = json.loads(asked.body[:length]), asked.body[length:]
    (tensor,) = body["inputs"]
    if (raw and not binary) or (not raw and model.binary_only):
        return _json({"error": "binary tensors are not what this model takes"}, 400)
    if tensor["name"] != "pixels" or tensor["datatype"] != model.datatype or len(tensor["shape"]) != len(model.shape):
        return _json({"error": f"unexpected input {tensor['name']} {tensor['datatype']} {tensor['shape']}"}, 400)
    kind = np.dtype(KINDS[model.datatype])
    if raw:
        assert tensor["parameters"]["binary_data_size"] == len(raw)
        pictures = np.frombuffer(raw, kind.newbyteorder("<"))
    else:
        pictures = np.array(tensor["data"], dtype=kind)
    pictures = pictures.reshape(tensor["shape"])
    if any(said not in {-1, given} for said, given in zip(model.shape, pictures.shape, strict=True)):
        return _json({"error": f"unexpected shape {tensor['shape']}"}, 400)
    model.batches.append(pictures.shape)
    outcome = model.trouble(asked.number, pictures, model.compute(pictures))
    if isinstance(outcome, Reply):
        return outcome
    return _outputs(body, model, outcome, binary=body.get("parameters", {}).get("binary_data_output", False))


def _outputs(body: dict[str, Any], model: ServedModel, outputs: dict[str, Array], *, binary: bool) -> Reply:
    listed, raw = [], b""
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": NAMES[array.dtype]}
        if binary:
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            raw += np.ascontiguousarray(array).tobytes()
        else:
            tensor["data"] = array.ravel().tolist()
        listed.append(tensor)
    text = json.dumps({"model_name": "m", "model_version": model.version, "id": body["id"], "outputs": listed}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    return Reply(text + raw, headers=headers)


def _json(content: dict[str, Any], status: int = 200) -> Reply:
    return Reply(json.dumps(content).encode(), status)
