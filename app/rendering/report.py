"""A finished explanation as one HTML file for printing and filing: pictures, figures, parameters, provenance.

It needs nothing else: pictures are in it, and it holds no script.
"""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.schemas import ExplanationRecord, TargetResult
from app.rendering.colormap import apply_colormap, max_abs
from app.rendering.formats import RenderedMap, RenderOptions, overlay
from app.rendering.renderer import Renderer

_SIDE = 900  # pixels: 15 cm at 150 dots per inch
_HALF = 0.5
_STYLE = """
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b1d21; font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { margin-top: 2rem; font-size: 1.15rem } img { display: block; max-width: 100% }
figure { margin: 1rem 0 } figcaption { color: #5a5e66; font-size: .9rem }
.scale { display: grid; grid-template-columns: auto minmax(4rem, 12rem) auto minmax(0, 1fr); gap: .6rem }
.scale { align-items: center; margin-top: .5rem }
.scale img { width: 100%; height: .8rem } table { border-collapse: collapse; width: 100% }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #d9d9d3; text-align: left; vertical-align: top }
th { width: 14rem; color: #5a5e66; font-weight: 400 } td { overflow-wrap: anywhere }
@media (max-width: 30rem) {
  th { width: 7rem } .scale { grid-template-columns: auto 1fr auto } .scale span:last-child { grid-column: 1 / -1 }
}
@media print { body { margin: 0 } section { break-inside: avoid } }
"""
_digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_digest}'"

_UNITS = {
    "probability": "change of the probability",
    "logit": "change of the logit",
    "log-odds": "change of the log-odds",
}


@dataclass(frozen=True)
class TargetFigures:
    """What the report shows of one target's map.

    Attributes:
        overlay: a JPEG.
        strongest: the value that has the last colour.
        signed: whether colours show values below 0 too.
        peak: value at the maximum; of several fills, the strongest value of either sign.
        error: its standard error; None where it is not known.
        half: share of the image that holds half of the positive saliency; None where there is none, or several fills.
    """

    overlay: bytes
    strongest: float
    signed: bool
    peak: float
    error: float | None
    half: float | None


def render_report(record: ExplanationRecord, renderer: Renderer, audit: ExplanationRecord | None = None) -> bytes:
    """Return the report of an explanation that has maps, as UTF-8.

    Args:
        record: the explanation.
        renderer: of its maps.
        audit: record of its audit; None where it has none.

    Raises:
        RiseError: `not-ready` before the first block, or where it failed.
    """
    explained = next((target.index for target in record.targets if target.error is None), 0)
    picture = renderer.render_target(record, explained, _picture, max_side=1)
    figures = [
        None if target.error else renderer.render_target(record, target.index, _figures, max_side=_SIDE)
        for target in record.targets
    ]
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "title").text = f"Explanation {record.id}"
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    _add_heading(body, record, picture)
    for target, shown in zip(record.targets, figures, strict=True):
        _add_target(body, record, target, shown)
    if audit is not None:
        _add_audit(body, audit)
    _add_table(body, "Parameters", _parameters(record))
    _add_table(body, "Provenance", _provenance(record))
    content: bytes = ET.tostring(html, encoding="utf-8", method="html")
    return b"<!doctype html>\n" + content


def _figures(rendered: RenderedMap) -> TargetFigures:
    several = len(rendered.fills) > 1
    picture = Image.open(io.BytesIO(overlay.encode(rendered, RenderOptions())))
    values, error = rendered.drawn.values, rendered.drawn.standard_error
    place = np.unravel_index(int((np.abs(values) if several else values).argmax()), values.shape)
    return TargetFigures(
        overlay=_jpeg(picture),
        strongest=max_abs(values, signed=several),
        signed=several,
        peak=float(values[place]),
        error=None if error is None else float(error[place]),
        half=None if several else _half_area(values[0]),
    )


def _half_area(values: NDArray[np.float32]) -> float | None:
    """Return the share of the area of the smallest region that holds half of the positive saliency."""
    positive = np.sort(values[values > 0])[::-1].astype(np.float64)
    if positive.size == 0:
        return None
    sums = np.cumsum(positive)
    return float(np.searchsorted(sums, _HALF * sums[-1]) + 1) / values.size


def _picture(rendered: RenderedMap) -> bytes:
    """Return the picture as a JPEG, at most as large as its maps here."""
    picture = rendered.image()
    picture.thumbnail((_SIDE, _SIDE))
    return _jpeg(picture)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _add_heading(body: ET.Element, record: ExplanationRecord, picture: bytes) -> None:
    image = record.image
    ET.SubElement(body, "h1").text = f"Where {record.request.model.id} looked"
    when = (record.finished_at or record.created_at).strftime("%Y-%m-%d %H:%M UTC")
    ET.SubElement(body, "p").text = (
        f"{record.request.method} on a picture of {image.width} \u00d7 {image.height} pixels, {when}. "
        "A value of the map is how the score changes when that place becomes visible."
    )
    figure = ET.SubElement(body, "figure")
    ET.SubElement(figure, "img", src=_data_url(picture, "image/jpeg"), alt="The picture")


def _add_target(
    body: ET.Element, record: ExplanationRecord, target: TargetResult, figures: TargetFigures | None
) -> None:
    section = ET.SubElement(body, "section")
    name = target.name or ("box" if target.label is None else f"class {target.label}")
    ET.SubElement(section, "h2").text = f"\u201c{name}\u201d"
    if figures is None:
        ET.SubElement(section, "p").text = f"There is no map: {target.error.detail if target.error else ''}"
        return
    figure = ET.SubElement(section, "figure")
    ET.SubElement(
        figure, "img", src=_data_url(figures.overlay, "image/jpeg"), alt=f"The picture with the map of {name}"
    )
    _add_scale(figure, record, figures)
    _add_rows(section, _target_rows(target, figures))
    _add_sentences(section, target)


def _add_scale(figure: ET.Element, record: ExplanationRecord, figures: TargetFigures) -> None:
    low = -figures.strongest if figures.signed else 0.0
    shares = np.linspace(-1 if figures.signed else 0, 1, 256, dtype=np.float32)[None]
    buffer = io.BytesIO()
    Image.fromarray(apply_colormap(shares, name=None, signed=figures.signed)).save(buffer, "PNG")
    scale = ET.SubElement(figure, "figcaption", {"class": "scale"})
    ET.SubElement(scale, "span").text = f"{low:.3g}"
    ET.SubElement(scale, "img", src=_data_url(buffer.getvalue(), "image/png"), alt="Colour bar")
    ET.SubElement(scale, "span").text = f"{figures.strongest:.3g}"
    ET.SubElement(scale, "span").text = _unit(record)


def _unit(record: ExplanationRecord) -> str:
    score = str(record.request.parameters.get("score", ""))
    return _UNITS.get(score, f"change of the score{f' ({score})' if score else ''}")


def _target_rows(target: TargetResult, figures: TargetFigures) -> Iterator[tuple[str, str]]:
    if target.score is not None:
        yield "Score of the whole picture", f"{target.score:.4g}"
    if target.box is not None:
        yield "Box", ", ".join(f"{side:.0f}" for side in target.box) + " (x0, y0, x1, y1 in pixels)"
    if target.reliability is not None:
        yield "Reliability", f"{target.reliability:.3f} (expected correlation with the fully converged map, 0 to 1)"
    if target.peak is not None:
        bounds = "" if figures.error is None else f" \u00b1 {figures.error:.2g} (standard error)"
        yield "Strongest place", f"{figures.peak:.3g}{bounds}, at {target.peak[0]:.0f}, {target.peak[1]:.0f}"
    if figures.half is not None:
        yield "Half of the positive saliency", f"on {figures.half:.1%} of the picture"


def _add_sentences(section: ET.Element, target: TargetResult) -> None:
    sentences = [*target.findings, *(target.evidence.sentences if target.evidence else []), *target.warnings]
    if sentences:
        listed = ET.SubElement(section, "ul")
        for sentence in sentences:
            ET.SubElement(listed, "li").text = (sentence[:1].upper() + sentence[1:]).replace("+-", "\u00b1")


_VERDICTS = {
    "nothing-found": "The audit found nothing.",
    "caution": "The audit advises caution.",
    "alarm": "The audit raises an alarm.",
}


def _add_audit(body: ET.Element, audit: ExplanationRecord) -> None:
    section = ET.SubElement(body, "section")
    ET.SubElement(section, "h2").text = "Audit"
    if audit.audit is None:
        ET.SubElement(section, "p").text = f"The audit is {audit.status.value}."
        return
    ET.SubElement(section, "p").text = f"{_VERDICTS[audit.audit.verdict]} It took {audit.audit.passes:,} pictures."
    listed = ET.SubElement(section, "ul")
    for check in audit.audit.checks:
        ET.SubElement(listed, "li").text = check.sentence
    ET.SubElement(section, "p").text = audit.audit.limits


def _parameters(record: ExplanationRecord) -> Iterator[tuple[str, str]]:
    for name, value in record.parameters.items():
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _provenance(record: ExplanationRecord) -> Iterator[tuple[str, str]]:
    yield "explanation", record.id
    yield "model", f"{record.request.model.id}, digest {record.request.model.digest}"
    yield "picture", f"SHA-256 {record.image.sha256}"
    if record.image.scaled:
        yield "picture's values", record.image.scaled
    if record.provenance is not None:
        for name, value in record.provenance.model_dump(mode="json").items():
            yield name.replace("_", " "), str(value)


def _add_table(body: ET.Element, title: str, rows: Iterable[tuple[str, str]]) -> None:
    section = ET.SubElement(body, "section")
    ET.SubElement(section, "h2").text = title
    _add_rows(section, rows)


def _add_rows(parent: ET.Element, rows: Iterable[tuple[str, str]]) -> None:
    table = ET.SubElement(parent, "table")
    for name, value in rows:
        row = ET.SubElement(table, "tr")
        ET.SubElement(row, "th", scope="row").text = name
        ET.SubElement(row, "td").text = value


def _data_url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
