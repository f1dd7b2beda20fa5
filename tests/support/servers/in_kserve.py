"""The models of `models.py` and `shapes.py` as KServe's Python server runs them: `in_kserve.py --http_port 8080`."""

from typing import Any

import numpy as np
import shapes
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from models import SIDE, logits, proposals


class Classifier(Model):  # type: ignore[misc] # the library is not in this environment
    """Says what it takes."""

    def load(self) -> bool:
        self.ready = True
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]}]

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        return answer(self.name, payload, logits=logits(payload.inputs[0].as_numpy()))


class Detector(Model):  # type: ignore[misc] # the library is not in this environment
    """Says nothing about itself, as most custom models."""

    def load(self) -> bool:
        self.ready = True
        return True

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        boxes, scores = proposals(payload.inputs[0].as_numpy())
        return answer(self.name, payload, boxes=boxes, scores=scores)


class Shapes(Model):  # type: ignore[misc] # the library is not in this environment
    """Takes normalised pictures, and says so, but for that."""

    def load(self) -> bool:
        self.weights = shapes.read_weights()
        self.ready = True
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3, shapes.SIDE, shapes.SIDE]}]

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        return answer(self.name, payload, logits=shapes.logits(self.weights, payload.inputs[0].as_numpy()))


class ShapesInV1(Model):  # type: ignore[misc] # the library is not in this environment
    """Knows v1 alone, as most custom models: the server calls it for v2 too, which it does not understand."""

    def load(self) -> bool:
        self.weights = shapes.read_weights()
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:  # noqa: ARG002
        return {"predictions": shapes.logits(self.weights, np.array(payload["instances"])).tolist()}


def answer(name: str, payload: InferRequest, **arrays: Any) -> InferResponse:
    binary = bool(payload.use_binary_outputs)
    outputs = [InferOutput(each, list(array.shape), "FP32", array) for each, array in arrays.items()]
    return InferResponse(payload.id, name, infer_outputs=outputs, use_binary_outputs=binary)


if __name__ == "__main__":
    served: list[Any] = [Classifier("classifier"), Detector("detector"), Shapes("shapes"), ShapesInV1("shapes-v1")]
    for model in served:
        model.load()
    ModelServer(enable_grpc=False).start(served)
