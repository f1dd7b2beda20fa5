"""A server of KServe's protocol v1 for tests, written from TensorFlow Serving's description and not from our client."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tests.support.loopback import Asked, Loopback, Reply, loopback
from tests.workers.models.inference_server import Array

Predict = Callable[[Array], Any]
"""Pictures as they arrive -> the value of `predictions`, or another reply."""


def serve_predictions(predict: Predict) -> AbstractContextManager[Loopback]:
    """Run a server with one model, `remote`, that knows v1 alone."""

    def answer(asked: Asked) -> Reply:
        if (asked.method, asked.path) != ("POST", "/v1/models/remote:predict"):
            return Reply(b'{"error": "Malformed request"}', 404)
        predictions = predict(np.array(json.loads(asked.body)["instances"], dtype=np.float32))
        return (
            predictions if isinstance(predictions, Reply) else Reply(json.dumps({"predictions": predictions}).encode())
        )

    return loopback(answer)
