"""Tensors as they travel: the check vectors of the protocol, every type there and back, and what is refused."""

import json
from typing import get_args

import numpy as np
import pytest
import torch

from workers.remote.http.client import HttpResponse
from workers.remote.http.options import Datatype
from workers.remote.kserve.tensor_codec import decode, encode, in_datatype

VALUES = np.array([[[0, 1], [2, 3]]], dtype=np.float32)


def test_a_binary_request_is_what_the_protocol_says_byte_by_byte() -> None:
    message = encode("x", VALUES, "FP32", binary=True, request_id="1")
    text = (
        b'{"id":"1","inputs":[{"name":"x","shape":[1,2,2],"datatype":"FP32",'
        b'"parameters":{"binary_data_size":16}}],"parameters":{"binary_data_output":true}}'
    )
    assert len(text) == 146
    assert len(message.content) == 162
    assert message.content == text + bytes.fromhex("00000000 0000803f 00000040 00004040")
    assert message.headers["inference-header-content-length"] == "146"


def test_a_request_in_json_holds_numbers_row_by_row() -> None:
    body = json.loads(encode("x", VALUES, "FP32", binary=False, request_id="42").content)
    tensor = {"name": "x", "shape": [1, 2, 2], "datatype": "FP32", "data": [0.0, 1.0, 2.0, 3.0]}
    assert body == {"id": "42", "inputs": [tensor]}


@pytest.mark.parametrize("datatype", get_args(Datatype))
def test_every_type_comes_back_as_it_went(datatype: Datatype) -> None:
    values = np.array([[0, 1, 2, 100]], dtype=np.float32)
    sent = encode("x", values, datatype, binary=True, request_id="1")
    length = int(sent.headers["inference-header-content-length"])
    output = json.loads(sent.content[:length])["inputs"]
    text = json.dumps({"outputs": output}).encode()
    answer = HttpResponse(200, {"inference-header-content-length": str(len(text))}, text + sent.content[length:])
    assert decode(answer).tensors["x"].tolist() == values.tolist()


def test_whole_numbers_are_rounded_and_bounded() -> None:
    assert in_datatype(np.array([-3, 0.4, 254.6, 900], np.float32), "UINT8").tolist() == [0, 0, 255, 255]


def test_bfloat16_rounds_to_the_nearest_as_torch_does() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert (in_datatype(values, "BF16") == expected).all()


def output(**changes: object) -> bytes:
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **changes}
    return json.dumps({"outputs": [tensor]}).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (output(data=[1, 2, 3]), r"gave 3 numbers for 'x' of shape \[2\]"),
        (output(data=None), r"gave 0 numbers for 'x'"),
        (output(data=[1, None]), "gave NaN in 'x'"),
        (output(data=["a", "b"]), "gave 'x' with data that is not FP32"),
        (output(datatype="BYTES"), "gave 'x' as BYTES; rise-serve reads BOOL"),
        (output(shape=[-2]), "gave an answer with outputs.0.shape.0 amiss"),
        (output(parameters={"binary_data_size": 8}), "gave 0 bytes for 'x', expected 8"),
        (b'{"outputs": []}', "gave no output"),
        (b"[]", "gave an answer with a body amiss"),
        (b"\xff\xfe", "gave an answer that is no JSON"),
    ],
)
def test_an_answer_that_is_not_as_it_should_be_is_described(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(HttpResponse(200, {}, body))


def test_numbers_may_be_nested() -> None:
    assert decode(HttpResponse(200, {}, output(shape=[1, 2], data=[[1, 2]]))).tensors["x"].tolist() == [[1, 2]]
