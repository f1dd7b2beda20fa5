"""The models of `models.py` as MLServer runs them."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from models import logits, proposals


class Classifier(MLModel):  # type: ignore[misc] # the library is not in this environment
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        scores = logits(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("logits", scores)]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)


class Detector(MLModel):  # type: ignore[misc] # the library is not in this environment
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        boxes, scores = proposals(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output("boxes", boxes), NumpyCodec.encode_output("scores", scores)]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
