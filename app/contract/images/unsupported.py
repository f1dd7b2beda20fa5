"""Recognises files that are not read as images, so that a refusal can name them and say what to do."""

import re

_HEIF = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)
_MP4 = re.compile(rb"....ftyp(?!avi[fs])", re.DOTALL)
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*|<!--.*|<!DOCTYPE svg.*)?<svg\b", re.DOTALL | re.IGNORECASE)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(!doctype html|html)\b", re.IGNORECASE)
_DICOM = re.compile(rb".{128}DICM", re.DOTALL)

_SAVE = "save it as PNG or JPEG"
_KINDS = (
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL", _SAVE),
    (re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "), "JPEG 2000", _SAVE),
    (_HEIF, "HEIC", f"{_SAVE}, or install the extra `heic` of the service"),
    (_MP4, "a video or an unknown format like MP4", "send one of its frames as PNG or JPEG"),
    (_DICOM, "DICOM", "export the image with the window that a reader would see, as PNG"),
    (_SVG, "SVG", "draw it as PNG of the size that the model is to see"),
    (_HTML, "a web page", "it may be an error or a login form where the image was expected"),
    (re.compile(rb"%PDF-"), "PDF", "export the page as PNG"),
    (re.compile(rb"8BPS"), "Photoshop", _SAVE),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR", f"map its tones and {_SAVE}"),
    (re.compile(rb"\x93NUMPY|PK\x03\x04.{26}[\w/]+\.npy", re.DOTALL), "a NumPy array", "save it as PNG or as TIFF"),
    (re.compile(rb"PK\x03\x04"), "a zip", "a zip of images goes to POST /v1/batches"),
)
_HEAD = 1024  # bytes in which a format shows itself


def name_unsupported(content: bytes) -> str | None:
    """Return a sentence that names the format of a file that is not read, and says what to do; None if unknown."""
    head = content[:_HEAD]
    for pattern, name, advice in _KINDS:
        if pattern.match(head):
            return f"this is {name}, which is not read as an image: {advice}"
    return None
