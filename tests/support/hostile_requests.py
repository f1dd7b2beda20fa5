"""Requests that nobody wants to get: the same seed sends the same bytes.

Each is written as it goes over the wire, because what is wrong with many of them no HTTP client would send.
"""

import base64
import io
import json
import random
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.hostile_images import mutilated, refused, unusual

Manner = Literal["whole", "slow", "cut"]
Draw = random.Random

_BOUNDARY = "hostile"
_TOO_SHORT = ", less than its length"
_QUICK = {"model": "shapes", "masks": 64, "until": 1}
_NAMES = ["model", "method", "targets", "masks", "until", "grid", "keep", "fill", "seed", "estimator", "canvas"]
_NAMES += ["priority", "callback", "image", "image_id", "image_url", "images", "archive", "colors", "shrink", "metrics"]
_NO_NAMES = [
    "",
    "\ud800",
    "__proto__",
    "\u202egpj",
    "näme",
    "a" * 5000,
    'quo"te',
    "new\r\nline",
    "nul\0",
    "\U0001f600",
    "/~1",
]
_REPEATED_BYTES = 50_000_000  # because what is sent has to be held here too
_TEXTS = ["", " ", "\0", "é", "\u202e", "\ud800", "\U0001f600" * 50, "a" * 100_000, "../../etc/passwd", "top:0", "top:"]
_TEXTS += [
    "top:999999",
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 5000,
    "%00",
    "{{7*7}}",
    "'; DROP TABLE",
    "shapes\n",
    "[",
    '{"',
]
_TEXTS += [
    "[" * 200_000,
    '{"a":' * 50_000,
    "http://127.0.0.1:6379/",
    "https://[::1",
    "https://a:99999/",
    "file:///etc/passwd",
]
_DENSE = "[" + "1," * 3_000_000 + "1]"
_NUMBERS = [0, -1, -(2**63), 2**63, 2**64, 10**300, 1e308, -0.0, 0.1, 1e-320, 5, 64]


@dataclass(frozen=True)
class HostileRequest:
    """One request.

    Attributes:
        kind: what is hostile about it, for messages.
        content: head and body.
        manner: sent at once, in pieces with pauses, or cut: the connection ends where the content does.
    """

    kind: str
    content: bytes
    manner: Manner


def hostile_requests(count: int, seed: int, explanation_id: str) -> Iterator[HostileRequest]:
    """Yield requests; `explanation_id` is one whose map can be measured."""
    draw = Draw(seed)
    pictures = [*refused().values(), *(content for content, _ in unusual().values()), *mutilated(300)]
    for _ in range(count):
        path, body = draw.choice(_ADDRESSES)
        kind, media_type, content = body(draw, pictures)
        address = path.replace("{id}", explanation_id)
        head, content, spoiled = _head(draw, address, media_type, content)
        manner: Manner = draw.choices(("whole", "slow", "cut"), (94, 2, 4))[0]
        whole = head + content
        if manner == "cut":
            whole = whole[: draw.randrange(1, len(whole))]
        elif spoiled == _TOO_SHORT:
            manner = "cut"  # because the rest would be waited for
        yield HostileRequest(f"{address[:60]}: {kind}{spoiled}, {manner}", whole, manner)


def _head(draw: Draw, path: str, media_type: str, content: bytes) -> tuple[bytes, bytes, str]:
    """Return the head of a request and its body, with one of them spoiled now and then."""
    length, method, extra, spoiled = str(len(content)), "POST", "", ""
    fate = draw.random()
    if fate < 0.03:
        more = draw.choice([-40, -1, 1, 1000])
        length, spoiled = str(max(0, len(content) + more)), _TOO_SHORT if more > 0 else ", more than its length"
    elif fate < 0.04:
        length, spoiled = draw.choice(["-1", "x", "99999999999999999999", "1, 2", "0x10"]), ", no length"
    elif fate < 0.06:
        content, spoiled = _chunks(draw, content), ", in chunks"
        return _lines(method, path, media_type, "Transfer-Encoding: chunked\r\n"), content, spoiled
    elif fate < 0.08:
        media_type, spoiled = draw.choice(_MEDIA_TYPES), ", a wrong type"
    elif fate < 0.09:
        method, spoiled = draw.choice(["PUT", "TRACE", "".join(draw.choices("ABCXYZ", k=7))]), ", a wrong method"
    elif fate < 0.12:
        extra, spoiled = draw.choice(_HEADERS), ", a wrong header"
    return _lines(method, path, media_type, f"{extra}Content-Length: {length}\r\n"), content, spoiled


def _lines(method: str, path: str, media_type: str, rest: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Type: {media_type}\r\n{rest}\r\n"
    return head.encode("utf-8", "surrogateescape")


def _chunks(draw: Draw, content: bytes) -> bytes:
    size = draw.choice([7, 1000, 65_536]) if len(content) < 200_000 else 65_536
    parts = [content[place : place + size] for place in range(0, len(content), size)]
    whole = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return whole if draw.random() < 0.7 else whole.replace(b"\r\n", draw.choice([b"\n", b"\r\nzz"]), 1)


_MEDIA_TYPES = [
    "", "multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 3000}",
    "multipart/form-data; boundary=hostile; charset=nonsense", "multipart/form-data; boundary=\xe4", "text/plain",
    'multipart/form-data; boundary="hostile', "application/json; charset=utf-16", "application/x-www-form-urlencoded",
    "multipart/mixed; boundary=hostile", "application/json, text/html", ";;;", "image/png",
]  # fmt: skip
_FILE_NAMES = ["a.png", "../../x", "é.jpg", "n" * 5000, "", "a\0", "%0d%0a", "\U0001f600"]
_PART_HEADERS = ["", "Content-Type: image/png\r\n", f"X: {'h' * 9000}\r\n", "Content-Transfer-Encoding: base64\r\n"]
_HEADERS = [
    "Idempotency-Key: \xff\xfe\r\n", "Idempotency-Key: same\r\n", "Prefer: wait=-1\r\n", "Prefer: wait=wait=0\r\n",
    f"X-Request-ID: {'x' * 5000}\r\n", "X-Request-ID: \x01\r\n", "traceparent: 00-zz\r\n", "Content-Encoding: gzip\r\n",
    "Expect: 100-continue\r\n", "Accept: \r\n",
    f"Authorization: Bearer {'k' * 4000}\r\n", f"Cookie: {'c' * 70_000}\r\n",
    "Transfer-Encoding: gzip\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n",
]  # fmt: skip


def _value(draw: Draw, depth: int = 0) -> Any:
    kind = draw.randrange(8 if depth < 3 else 5)
    if kind < 2:
        return draw.choice(_TEXTS)
    if kind < 5:
        return draw.choice([*_NUMBERS, None, True, False])
    if kind == 5:
        return [_value(draw, depth + 1) for _ in range(draw.randrange(6))]
    if kind == 6:
        return {_name(draw): _value(draw, depth + 1) for _ in range(draw.randrange(5))}
    return f"<nested {draw.choice([50, 300, 900, 980, 2000])}>"


def _dumped(draw: Draw, value: Any) -> str:
    """Return JSON, with lists in lists where a text asks for them: deeper than could be written otherwise."""
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    return re.sub(r'"<nested (\d+)>"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), text)


def _fields(draw: Draw, image: Any) -> dict[str, Any]:
    """Return a right request with a few fields of which nobody knows what they will do."""
    fields: dict[str, Any] = {**_QUICK, "seed": draw.randrange(2**40)}
    if image is not None:
        fields["image"] = image
    for _ in range(draw.choice([0, 0, 0, 1, 1, 2])):
        fields[_name(draw)] = _value(draw)
    return fields


def _name(draw: Draw) -> str:
    return draw.choice(_NAMES if draw.random() < 0.9 else _NO_NAMES)


def _spoil(draw: Draw, content: bytes) -> tuple[str, bytes]:
    """Return a body, now and then with bytes changed, cut or repeated."""
    if draw.random() < 0.85 or not content:
        return "", content
    place = draw.randrange(len(content))
    cut = content[:place]
    flipped = bytearray(content)
    for _ in range(draw.randrange(1, 20)):
        flipped[draw.randrange(len(flipped))] = draw.randrange(256)
    return ", spoiled", draw.choice([cut, bytes(flipped), content + content[place:], content[place:] + cut])


def _json_body(draw: Draw, pictures: list[bytes]) -> tuple[str, str, bytes]:
    picture = {"base64": base64.b64encode(draw.choice(pictures)).decode()}
    image = draw.choice(
        [picture, picture, picture, {"base64": "%%%"}, {"id": "../x"}, {"url": "http://[::1]:1/"}, None]
    )
    fields = _fields(draw, image if draw.random() < 0.9 else _value(draw))
    if draw.random() < 0.2:
        fields["images"] = [image] * draw.choice([1, 3, 200])
    return _as_json(draw, fields)


def _as_json(draw: Draw, fields: Any) -> tuple[str, str, bytes]:
    text = _dumped(draw, fields)
    if draw.random() < 0.1:
        text = draw.choice(
            ["[" * 100_000, '{"a":' * 100_000, "", "null", "[]", '"x"', _DENSE, text * 2, text.replace("1", "NaN")]
        )
    spoiled, content = _spoil(draw, text.encode("utf-8", "surrogatepass"))
    return f"json{spoiled}", "application/json", content


def _metrics_body(draw: Draw, _: list[bytes]) -> tuple[str, str, bytes]:
    names = ["target", "metrics", "steps", "substrate", "box", "tolerance", "seed", "unknown"]
    fields = {draw.choice(names): _value(draw) for _ in range(draw.randrange(1, 4))}
    if "metrics" not in fields:
        fields["metrics"] = ["pointing-game"]
    return _as_json(draw, fields)


def _form_body(draw: Draw, pictures: list[bytes]) -> tuple[str, str, bytes]:
    parts = [(name, _text(draw, value)) for name, value in _fields(draw, None).items()]
    parts.append((draw.choice(["image", "image", "image", "archive"]), draw.choice(pictures)))
    return _form(draw, parts)


def _archive_body(draw: Draw, pictures: list[bytes]) -> tuple[str, str, bytes]:
    content = _archive(draw, pictures)
    parts = [(name, _text(draw, value)) for name, value in _fields(draw, None).items()]
    return _form(draw, [*parts, ("archive", content)])


def _archive(draw: Draw, pictures: list[bytes]) -> bytes:
    """Return a zip: bombs, names that lead elsewhere, archives in archives, lies."""
    buffer = io.BytesIO()
    method = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # because some archives hold a name twice
        for number in range(draw.choice([0, 1, 3, 30])):
            name = draw.choice(["", "/", "../", "a/b/", "C:\\", "\u202e", "a\0", "__MACOSX/", "n" * 300])
            archive.writestr(f"{name}{number}.png", draw.choice(pictures))
        if draw.random() < 0.1:
            archive.writestr("bomb.png", bytes(30_000_000))
    whole = bytearray(buffer.getvalue())
    for _ in range(draw.choice([0, 0, 1, 10])):
        whole[draw.randrange(len(whole))] = draw.randrange(256)
    return bytes(whole)


def _text(draw: Draw, value: Any) -> bytes:
    text = value if isinstance(value, str) and not value.startswith("<nested") else _dumped(draw, value)
    return text.encode("utf-8", "surrogatepass")


def _form(draw: Draw, parts: list[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    if draw.random() < 0.1:
        room = _REPEATED_BYTES // max(1, *(len(content) for _, content in parts))
        parts += draw.choices(parts, k=draw.choice([1, 50, 2000]))[:room]
    draw.shuffle(parts)
    content = b"".join(_part(draw, name, value) for name, value in parts)
    end = draw.choices([f"--{_BOUNDARY}--\r\n", f"--{_BOUNDARY}", "", "--other--\r\n"], (85, 5, 5, 5))[0]
    spoiled, content = _spoil(draw, content + end.encode())
    return f"form{spoiled}", f"multipart/form-data; boundary={_BOUNDARY}", content


def _part(draw: Draw, name: str, content: bytes) -> bytes:
    """Return one part of a form; files have names of which some are no names."""
    named = name in {"image", "archive"} and draw.random() < 0.95
    file = f'; filename="{draw.choice(_FILE_NAMES)}"' if named else ""
    more = draw.choices(_PART_HEADERS, (85, 9, 3, 3))[0]
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{more}\r\n'
    return head.encode("utf-8", "surrogatepass") + content + b"\r\n"


_Body = Callable[[Draw, list[bytes]], tuple[str, str, bytes]]
_ADDRESSES: list[tuple[str, _Body]] = [
    ("/v1/explanations", _form_body),
    ("/v1/explanations", _form_body),
    ("/v1/explanations", _json_body),
    ("/v1/explanations", _json_body),
    ("/v1/images", _form_body),
    ("/v1/images", _json_body),
    ("/v1/batches", _archive_body),
    ("/v1/batches", _archive_body),
    ("/v1/batches", _json_body),
    ("/v1/models/shapes/predict", _form_body),
    ("/v1/models/shapes/predict?limit=-1", _json_body),
    ("/v1/models/%00%ff/predict", _json_body),
    ("/v1/explanations/{id}/metrics", _metrics_body),
    ("/v1/explanations/..%2f%F0%9F%98%80/metrics", _metrics_body),
]
