"""The report of a survey as clients see it: JSON with links, rows of CSV, small maps as pictures."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from app.batches.exports.csv_lines import csv_line
from app.batches.store import AnnotationSummary, BatchRecord
from app.batches.surveys import SurveyProgress
from app.contract.schemas import ModelRef, StoredModel
from app.contract.survey import (
    Alignment,
    ClusterReport,
    Explained,
    LabelReport,
    LeftOut,
    SurveyCase,
    SurveyReport,
)
from app.explanations.root_path import root_path
from app.rendering.colormap import apply_colormap, normalize

_MAP_SIDE = 256


class LabelView(LabelReport):
    """One explained label."""

    mean_map: str | None = Field(None, description="Address of the mean map of its recognised cases.")  # type: ignore[assignment]


class ClusterView(ClusterReport):
    """Cases of one label whose maps are alike."""

    mean_map: str = Field(description="Address of the mean map.")  # type: ignore[assignment]
    members: str = Field(description="Address of its cases.")  # type: ignore[assignment]


class ReportView(StoredModel):
    """What a survey has found."""

    status: str = Field("finished", description="`finished`; of an answer 202 `running`.")
    batch: str
    model: ModelRef
    explain: Explained | None = Field(description="Whether annotated or predicted classes were explained.")
    images: int
    annotations: AnnotationSummary | None
    sentences: list[str] = Field(description="What is suspicious, or that nothing is.")
    labels: list[LabelView]
    clusters: list[ClusterView] = Field(description="Suspicious ones first, then by size.")
    left_out: list[LeftOut] = Field(description="Images of which there are no figures.")
    links: dict[str, str]


class ReportProgressView(StoredModel):
    """How far a report is."""

    status: str = Field("running", description="`running`.")
    ended: int = Field(description="Images whose explanations have ended.")
    measured: int = Field(description="Images that are measured.")
    total: int
    reason: str | None = Field(None, description="Why it does not go on, such as a model that no worker serves now.")


class ClusterMembersView(StoredModel):
    """The cases of one cluster, those decided outside of the objects first."""

    label: str
    place: str
    mean_map: list[list[float]]
    cases: list[SurveyCase]


def view_of_progress(progress: SurveyProgress) -> ReportProgressView:
    """Return what a client sees while there is no report."""
    return ReportProgressView(
        ended=progress.ended, measured=progress.measured, total=progress.total, reason=progress.reason
    )


def view_of_report(batch: BatchRecord, report: SurveyReport) -> ReportView:
    """Return what a client sees of a report."""
    url = f"{root_path()}/v1/batches/{batch.id}/report"
    labels = [
        LabelView.model_validate(
            {**label.model_dump(), "mean_map": f"{url}/labels/{place}.png" if label.mean_map else None}
        )
        for place, label in enumerate(report.labels)
    ]
    clusters = [
        ClusterView.model_validate(
            {
                **cluster.model_dump(),
                "mean_map": f"{url}/clusters/{place}.png",
                "members": f"{url}/clusters/{place}",
            }
        )
        for place, cluster in enumerate(report.clusters)
    ]
    return ReportView(
        batch=batch.id,
        model=batch.request.model,
        explain=batch.explain,
        images=report.images,
        annotations=batch.annotations,
        sentences=report.sentences,
        labels=labels,
        clusters=clusters,
        left_out=report.left_out,
        links={"self": url, "html": f"{url}.html", "csv": f"{url}.csv", "batch": f"{url.removesuffix('/report')}"},
    )


def view_of_members(report: SurveyReport, cluster: ClusterReport) -> ClusterMembersView:
    """Return the cases of a cluster."""
    cases = [report.cases[place] for place in cluster.members]
    return ClusterMembersView(label=cluster.label, place=cluster.place, mean_map=cluster.mean_map, cases=cases)


def csv_rows(report: SurveyReport) -> Iterator[bytes]:
    """Yield a CSV file with a row for each case; spreadsheets take no text in it for a formula."""
    clusters: dict[int, list[int]] = {}
    for number, cluster in enumerate(report.clusters):
        for place in cluster.members:
            clusters.setdefault(place, []).append(number)
    columns = [name for name in SurveyCase.model_fields if name != "box"]
    suspicious = report.suspicious_cases
    head = [*columns, "x0", "y0", "x1", "y1", "background_share", "decided_outside", "suspicious", "clusters"]
    yield csv_line(head)
    for place, case in enumerate(report.cases):
        values = [getattr(case, name) for name in columns]
        numbers = " ".join(map(str, clusters.get(place, [])))
        verdicts = [case.is_decided_outside, place in suspicious]
        yield csv_line([*values, *case.box, case.background_share, *verdicts, numbers])


def draw_mean_map(values: Sequence[Sequence[float]], alignment: Alignment = "picture") -> Image.Image:
    """Return a mean map in colours, 256 pixels wide; around the object with a frame where its box is."""
    colors = apply_colormap(normalize(np.asarray(values, dtype=np.float32), signed=False), name=None, signed=False)
    picture = Image.fromarray(colors).resize((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BICUBIC)
    if alignment == "object":
        quarter = _MAP_SIDE // 4
        ImageDraw.Draw(picture).rectangle((quarter, quarter, 3 * quarter, 3 * quarter), outline="white", width=2)
    return picture
