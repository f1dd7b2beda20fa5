"""The report of a survey as one HTML file for printing and filing: pictures are in it, and it holds no script.

Each cluster has its mean map and a contact sheet of its members, those decided outside of the objects first.
"""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree as ET

from PIL import Image, ImageDraw

from app.batches.store import BatchRecord
from app.batches.survey_views import draw_mean_map
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import Box
from app.contract.survey import Alignment, ClusterReport, LabelReport, SurveyCase, SurveyReport
from app.rendering.formats import RenderedMap, RenderOptions, overlay
from app.rendering.renderer import Renderer

_SIDE = 176  # pixels of a picture
_MOST_PICTURES = 12  # of a cluster
_MOST_SHEETS = 20  # clusters with pictures: 240 pictures take seconds and 2 MB
_MOST_LEFT_OUT = 50
_STYLE = """
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #1b1d21; font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { margin: 2rem 0 .5rem; font-size: 1.15rem } p { margin: .5rem 0 }
.found { padding: .6rem .9rem; border-left: 4px solid #b3261e; background: #fbeceb }
.clear { padding: .6rem .9rem; border-left: 4px solid #2e6f40; background: #eaf4ec }
.note { color: #5a5e66; font-size: .9rem }
section { break-inside: avoid-page }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); gap: .7rem; margin: .8rem 0 }
figure { margin: 0 } img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #f1f1ee }
figcaption { margin-top: .2rem; color: #5a5e66; font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere }
.mean img { outline: 2px solid #1b1d21 } .outside figcaption { color: #b3261e }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #d9d9d3; text-align: right; vertical-align: bottom }
td + td { white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { color: #5a5e66; font-weight: 400 }
.suspicious td { color: #b3261e }
@media print { body { margin: 0; max-width: none; print-color-adjust: exact } }
"""
_digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_digest}'"

_MEANS: dict[Alignment, str] = {
    "picture": "mean of all maps",
    "object": "mean of all maps; in the frame the object",
}
_COLUMNS = (
    "label",
    "explained",
    "recognised",
    "decided outside",
    "saliency inside",
    "area",
    "maximum inside",
    "objects alone",
    "background alone",
)


def render_survey(batch: BatchRecord, report: SurveyReport, store: ExplanationStore, renderer: Renderer) -> bytes:
    """Return the report of a batch, UTF-8; pictures whose explanations are gone are left out."""
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", name="viewport", content="width=device-width")
    ET.SubElement(head, "title").text = f"What {batch.request.model.id} looked at"
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    _add_heading(body, batch, report)
    _add_labels(body, report.labels)
    sheets = _Sheets(report, store, renderer)
    for number, cluster in enumerate(report.clusters):
        _add_cluster(body, cluster, sheets, pictures=_MOST_PICTURES if number < _MOST_SHEETS else 0)
    _add_unclustered(body, report, sheets)
    _add_end(body, batch, report)
    content: bytes = ET.tostring(html, encoding="utf-8", method="html")
    return b"<!doctype html>\n" + content


class _Sheets:
    """Draws contact sheets."""

    def __init__(self, report: SurveyReport, store: ExplanationStore, renderer: Renderer) -> None:
        self._report = report
        self._store = store
        self._renderer = renderer

    def add(
        self,
        parent: ET.Element,
        places: Iterable[int],
        mean: Sequence[Sequence[float]] = (),
        alignment: Alignment = "picture",
    ) -> None:
        """Add the mean map and the pictures of cases to a section."""
        sheet = ET.SubElement(parent, "div", {"class": "sheet"})
        if mean:
            _add_figure(sheet, draw_mean_map(mean, alignment), _MEANS[alignment], "mean")
        for case in (self._report.cases[place] for place in places):
            picture = self._picture(case)
            if picture is not None:
                _add_figure(sheet, picture, _caption(case), "outside" if case.is_decided_outside else "inside")

    def _picture(self, case: SurveyCase) -> Image.Image | None:
        record = self._store.read(case.explanation)
        if record is None:
            return None

        def draw(rendered: RenderedMap) -> Image.Image:
            picture = Image.open(io.BytesIO(overlay.encode(rendered, RenderOptions()))).convert("RGB")
            return _with_box(picture, case.box, picture.width / record.image.width)

        try:
            return self._renderer.render_target(record, case.target, draw, max_side=_SIDE)
        except RiseError:
            return None


def _with_box(picture: Image.Image, box: Box, scale: float) -> Image.Image:
    pen = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = (round(side * scale) for side in box)
    right, bottom = max(x0, min(x1, picture.width) - 1), max(y0, min(y1, picture.height) - 1)
    pen.rectangle((x0, y0, right, bottom), outline="white")
    return picture


def _caption(case: SurveyCase) -> str:
    name = case.name.rpartition("/")[2]
    share = case.background_share
    background = "" if share is None else f", background alone {_percent(share)}"
    return f"{name}: inside {_percent(case.inside)}{background}"


def _add_figure(parent: ET.Element, picture: Image.Image, caption: str, kind: str) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    figure = ET.SubElement(parent, "figure", {"class": kind})
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    ET.SubElement(figure, "img", src=source, alt=caption)
    ET.SubElement(figure, "figcaption").text = caption


def _add_heading(body: ET.Element, batch: BatchRecord, report: SurveyReport) -> None:
    ET.SubElement(body, "h1").text = f"What {batch.request.model.id} looked at in {report.images} pictures"
    is_found = any(each.suspicious for each in [*report.labels, *report.clusters])
    box = ET.SubElement(body, "div", {"class": "found" if is_found else "clear"})
    for sentence in report.sentences:
        ET.SubElement(box, "p").text = sentence
    unexplained = batch.annotations.unexplained if batch.annotations else 0
    left_out = f" Annotated objects beyond the 20 targets of an image, not explained: {unexplained}."
    explained = "objects" if any(case.of_detection for case in report.cases) else "classes"
    ET.SubElement(body, "p", {"class": "note"}).text = (
        f"Explained were the {batch.explain or 'annotated'} {explained}. One counts as decided outside where the "
        "objects hold less of the positive saliency than of the area, and the background alone keeps more than half "
        "of the score. Figures are of those that the model recognises; brackets are 95 % intervals."
        + (left_out if unexplained else "")
    )


def _add_labels(body: ET.Element, labels: Sequence[LabelReport]) -> None:
    section = ET.SubElement(body, "section")
    ET.SubElement(section, "h2").text = "Labels"
    table = ET.SubElement(section, "table")
    head = ET.SubElement(table, "tr")
    for column in _COLUMNS:
        ET.SubElement(head, "th", scope="col").text = column
    for label in sorted(labels, key=lambda each: (not each.suspicious, -each.images)):
        row = ET.SubElement(table, "tr", {"class": "suspicious"} if label.suspicious else {})
        for cell in _cells(label):
            ET.SubElement(row, "td").text = cell


def _cells(label: LabelReport) -> Iterator[str]:
    yield label.name
    yield str(label.images)
    yield str(label.recognised)
    yield str(label.decided_outside)
    yield _with_interval(label.inside, label.inside_interval)
    yield _percent(label.area)
    yield _percent(label.pointing_game)
    yield _percent(label.objects_alone)
    yield _with_interval(label.background_alone, label.background_alone_interval)


def _add_cluster(body: ET.Element, cluster: ClusterReport, sheets: _Sheets, *, pictures: int) -> None:
    section = ET.SubElement(body, "section")
    ET.SubElement(section, "h2").text = f"\u201c{cluster.label}\u201d: {cluster.place}"
    ET.SubElement(section, "p", {"class": "found"} if cluster.suspicious else {}).text = cluster.sentence
    compared = "as they lie in the picture" if cluster.alignment == "picture" else "around the object"
    p_value = "not tested" if cluster.p_value is None else f"p = {cluster.p_value:.2g} after correction"
    ET.SubElement(section, "p", {"class": "note"}).text = (
        f"Maps compared {compared}; stability {cluster.stability:.2f}; {cluster.decided_outside} of {cluster.images} "
        f"decided outside, {p_value}."
    )
    if pictures:
        sheets.add(section, cluster.members[:pictures], cluster.mean_map, cluster.alignment)


def _add_unclustered(body: ET.Element, report: SurveyReport, sheets: _Sheets) -> None:
    """Add the pictures of suspicious labels that no suspicious cluster shows."""
    shown = {cluster.label for cluster in report.clusters if cluster.suspicious}
    for label in (each for each in report.labels if each.suspicious and each.name not in shown):
        section = ET.SubElement(body, "section")
        ET.SubElement(section, "h2").text = f"\u201c{label.name}\u201d: decided outside of the objects"
        places = [
            place
            for place, case in enumerate(report.cases)
            if case.label == label.label and case.recognised and case.is_decided_outside
        ]
        sheets.add(section, places[:_MOST_PICTURES])


def _add_end(body: ET.Element, batch: BatchRecord, report: SurveyReport) -> None:
    if report.left_out:
        section = ET.SubElement(body, "section")
        ET.SubElement(section, "h2").text = "Left out"
        listed = ET.SubElement(section, "ul")
        for image in report.left_out[:_MOST_LEFT_OUT]:
            ET.SubElement(listed, "li").text = f"{image.name}: {image.reason}"
        if len(report.left_out) > _MOST_LEFT_OUT:
            ET.SubElement(listed, "li").text = f"and {len(report.left_out) - _MOST_LEFT_OUT} more"
    request = batch.request
    parameters = ", ".join(f"{name} {value}" for name, value in request.parameters.items())
    ET.SubElement(body, "p", {"class": "note"}).text = (
        f"Batch {batch.id} of {batch.created_at:%Y-%m-%d %H:%M UTC}; model {request.model.id}, digest "
        f"{request.model.digest}; {request.method}: {parameters}."
    )


def _percent(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.0%}".replace("%", "\u202f%")


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return _percent(value)
    return f"{_percent(value)} [{interval[0]:.0%}, {interval[1]:.0%}]".replace("%,", ",").replace("%]", "]")
