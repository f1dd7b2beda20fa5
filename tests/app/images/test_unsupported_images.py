"""Files that are recognised are refused by their names, with what to do."""

import numpy as np
import pytest
from PIL import Image

from app.contract.errors import RiseError
from app.contract.images.decoding import decode, upright_bytes
from app.contract.images.unsupported import name_unsupported
from tests.support.hostile_images import encoded, picture
from tests.support.image_validation import validate

RECOGNISED = {
    "JPEG XL": [b"\xff\x0a\xfa\x1f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0\x2f"],
    "DICOM": [b"\0" * 128 + b"DICM\x02\0\0\0"],
    "SVG": [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="3"/>',
    ],
    "a web page": [b"<!DOCTYPE html><title>Sign in</title>", b"\n<html>"],
    "PDF": [b"%PDF-1.7\n"],
    "Photoshop": [b"8BPS\0\1"],
    "OpenEXR": [b"\x76\x2f\x31\x01\2\0\0\0"],
    "a NumPy array": [b"\x93NUMPY\1\0", b"PK\x03\x04" + b"\0" * 26 + b"arr_0.npy"],
    "a zip": [b"PK\x03\x04" + b"\0" * 26 + b"a.jpg"],
    "a video": [b"\0\0\0\x20ftypisom\0\0\2\0"],
}


@pytest.mark.parametrize(("name", "content"), [(name, file) for name, files in RECOGNISED.items() for file in files])
def test_a_file_that_is_recognised_and_not_read_is_refused_by_its_name(name: str, content: bytes) -> None:
    for read in (validate, decode):
        with pytest.raises(RiseError) as caught:
            read(content + b"\0" * 50)
        assert caught.value.code == "unreadable-image"
        assert caught.value.detail.startswith(f"this is {name}")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_a_photograph_of_a_phone_is_named_where_it_is_not_read(brand: bytes) -> None:
    sentence = str(name_unsupported(b"\0\0\0\x24ftyp" + brand + b"\0" * 40))
    assert sentence.startswith("this is HEIC, which is not read as an image: save it as PNG or JPEG")
    assert sentence.endswith("or install the extra `heic` of the service")


def test_a_photograph_of_a_phone_is_read_with_the_extra() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for options, size in (({}, (60, 40)), ({"exif": exif.tobytes()}, (40, 60))):
        content = encoded(picture(), "HEIF", quality=90, **options)
        info = validate(content).info
        assert (info.width, info.height, info.media_type) == (*size, "image/heic")
        assert decode(content).size == size
        assert upright_bytes(content)[1] == "image/png"


def test_avif_is_read() -> None:
    content = encoded(picture(), "AVIF", quality=100, subsampling="4:4:4")
    assert validate(content).info.media_type == "image/avif"
    assert np.abs(np.asarray(decode(content)).astype(float) - np.asarray(picture())).mean() < 5


def test_a_broken_avif_is_not_called_a_video() -> None:
    with pytest.raises(RiseError, match="broken or incomplete"):
        validate(encoded(picture(), "AVIF")[:60])
