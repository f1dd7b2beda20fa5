"""The models of `models.py` as KServe's Python server runs them: `in_kserve.py --http_port 8080`."""

from typing import Any

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


def answer(name: str, payload: InferRequest, **arrays: Any) -> InferResponse:
    binary = bool(payload.use_binary_outputs)
    outputs = [InferOutput(each, list(array.shape), "FP32", array) for each, array in arrays.items()]
    return InferResponse(payload.id, name, infer_outputs=outputs, use_binary_outputs=binary)


if __name__ == "__main__":
    classifier, detector = Classifier("classifier"), Detector("detector")
    classifier.load()
    detector.load()
    ModelServer(enable_grpc=False).start([classifier, detector])
