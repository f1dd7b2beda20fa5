"""What the service answers, as frozen values. What a newer service adds, fields and names of states, is no error."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright image."""

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""States in which an explanation stays."""


class ResponseModel(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelRef(ResponseModel):
    """Which model, and which weights."""

    id: str
    digest: str


class ImageInfo(ResponseModel):
    """The image, upright; `scaled` tells how grey values of more than 8 bits became 0 to 255."""

    width: int
    height: int
    sha256: str
    media_type: str
    scaled: str | None = None


class Progress(ResponseModel):
    """How far a running explanation is; `reliability` is that of the least converged target, 0..1."""

    masks: int = 0
    total: int
    masks_per_second: float | None = None
    eta_seconds: float | None = None
    reliability: float | None = None


class Failure(ResponseModel):
    """Why something failed."""

    code: str
    detail: str


class HiddenCells(ResponseModel):
    """By how much the score falls where some cells are hidden at once, the least relevant or as many random ones."""

    cells: int
    drop: float
    random: float


class LeastRelevantFirst(HiddenCells):
    """Half of the cells hidden; `steps` has a tenth, a quarter and a half."""

    steps: list[HiddenCells] = Field(default_factory=list)


class FillScore(ResponseModel):
    """What the model sees where everything is hidden.

    Attributes:
        target: the target's probability or match there, as a share of the image's.
        top_class: the class or detection with the highest probability.
        probability: of that class.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    target: float | None = None
    top_class: str | None = Field(None, alias="class")
    probability: float | None = None


class Evidence(ResponseModel):
    """How far a map can be trusted; None is what is not defined for it.

    Attributes:
        fidelity: share of the scores' variance that adding up effects explains in masks left out of the fit.
        interaction_share: share of that variance from regions acting together in even numbers.
        sentences: each figure in words.
    """

    fidelity: float | None = None
    interaction_share: float | None = None
    least_relevant_first: LeastRelevantFirst | None = None
    fill_score: FillScore | None = None
    sentences: list[str] = Field(default_factory=list)


class TargetData(ResponseModel):
    """One target of an explanation.

    Attributes:
        score: the model's, on the unmasked image.
        reliability: expected correlation of the map with the fully converged one, 0..1; None: too few blocks.
        matched: share of masked images in which anything matched (detectors).
        findings: the strongest effects, in words.
        error: why it has no map that means anything.
        peak: x, y of the map's maximum, in pixels of the image.
        evidence: how far the map can be trusted; None before the end.
        links: addresses of its map, by format.
    """

    index: int
    label: int | None
    name: str | None
    score: float | None
    box: Box | None = None
    reliability: float | None = None
    matched: float | None = None
    warnings: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list)
    error: Failure | None = None
    peak: tuple[float, float] | None = None
    evidence: Evidence | None = None
    links: dict[str, str]


class Provenance(ResponseModel):
    """What it takes to get the same map again; `stopped` is `reliable` or `all-masks`."""

    version: str
    device: str
    precision: str
    seed: int
    masks_used: int
    blocks: int
    grid: tuple[int, int] | None = None
    tiles: int | None = None
    degrees_of_freedom: int | None = None
    workers: int = 1
    evidence_passes: int = 0
    stopped: str


class AuditCheck(ResponseModel):
    """One check of an audit; `value` is that of the worst target, `sentence` says it in words."""

    check: str
    verdict: str
    value: float | None = None
    sentence: str
    details: dict[str, Any] = Field(default_factory=dict)


class AuditData(ResponseModel):
    """The audit of an explanation.

    Attributes:
        status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        progress: in pictures that the model was asked for; None while it waits.
        passes: pictures that the model was asked for; before its end, at most; None: not known before it runs.
        verdict: `nothing-found`, `caution` or `alarm`, the worst of all checks; None before the end.
        limits: what no check can see.
        fills: of which there are maps: `map_of(0, fill="grey")`.
        opacity: of which there is a map: `map_of(0, opacity=0.3)`.
        methods: of which there are maps: `map_of(0, method="grad-cam")`.
    """

    status: str
    progress: Progress | None
    passes: int | None
    verdict: str | None
    checks: list[AuditCheck]
    limits: str | None
    fills: list[str]
    opacity: float | None
    methods: list[str]
    error: Failure | None
    links: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED


class ExplanationData(ResponseModel):
    """What was asked, how far it is, what came out.

    Attributes:
        status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
        parameters: all of them, defaults filled in.
        queue_position: jobs that stand before it; None where it does not wait.
        eta_seconds: estimated, until it has ended.
        consistency: largest difference between the model's answers to the same image; None without evidence.
        audit: None where none was asked for.
        audit_passes: pictures that an audit takes at most; None before the end, and where none is possible.
    """

    id: str
    status: str
    model: ModelRef
    method: str
    parameters: dict[str, Any]
    image: ImageInfo
    progress: Progress | None
    targets: list[TargetData]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    queue_position: int | None
    eta_seconds: float | None
    error: Failure | None
    provenance: Provenance | None
    consistency: float | None = None
    audit: AuditData | None = None
    audit_passes: int | None = None
    links: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED


class AnnotationError(ResponseModel):
    """An entry of annotations that is not used: a JSON pointer to it, and why."""

    field: str
    detail: str


class AnnotationSummary(ResponseModel):
    """How much of a batch's annotations is used; `errors` lists the first of those that cannot be.

    Attributes:
        unexplained: objects beyond the 20 targets of an image.
    """

    images: int
    objects: int
    unexplained: int = 0
    error_count: int = 0
    errors: list[AnnotationError] = Field(default_factory=list)


class BatchData(ResponseModel):
    """What was asked about many images, and how far that is.

    Attributes:
        status: `running`, `finished` or `cancelled`.
        counts: how many images stand how: as their explanations do, or `waiting`, `refused`, `expired`.
        progress: share of images that have ended, 0..1.
    """

    id: str
    status: str
    model: ModelRef
    method: str
    parameters: dict[str, Any]
    total: int
    counts: dict[str, int]
    progress: float
    annotations: AnnotationSummary | None = None
    created_at: datetime
    expires_at: datetime
    links: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether all its images have ended, however they have."""
        return self.status in {"finished", "cancelled"}


class BatchItem(ResponseModel):
    """One image of a batch; `error` says why it was refused."""

    index: int
    name: str
    status: str
    error: Failure | None
    explanation: ExplanationData | None


class GroupFigures(ResponseModel):
    """Means over the images of a label or a cluster.

    Attributes:
        inside: share of the positive saliency inside the objects.
        area: share of the picture inside them: what chance gives.
        pointing_game: share of maps whose maximum is inside.
        objects_alone: share of the score that is left where only the objects are visible.
        background_alone: share of the score that is left where only the background is visible.
        decided_outside: images with `inside` below `area` and more than half of the score on the background alone.
        p_value: of the test behind `suspicious`, corrected for the number of tests.
    """

    images: int
    inside: float | None = None
    inside_interval: tuple[float, float] | None = None
    area: float | None = None
    pointing_game: float | None = None
    objects_alone: float | None = None
    background_alone: float | None = None
    background_alone_interval: tuple[float, float] | None = None
    decided_outside: int = 0
    p_value: float | None = None
    suspicious: bool = False
    sentence: str = ""


class LabelFigures(GroupFigures):
    """One explained label; figures are of those images in which the model recognises it."""

    name: str
    label: int
    recognised: int
    reliability: float | None = None
    fidelity: float | None = None


class MapCluster(GroupFigures):
    """Images of one label whose maps are alike; `members` and `mean_map` are addresses."""

    label: str
    share: float
    alignment: str
    stability: float
    place: str
    members: str
    mean_map: str


class ReportData(ResponseModel):
    """What the maps of an annotated batch have in common; `left_out` has images without figures, with reasons."""

    images: int
    sentences: list[str]
    labels: list[LabelFigures]
    clusters: list[MapCluster]
    left_out: list[dict[str, Any]] = Field(default_factory=list)
    links: dict[str, str]

    @property
    def is_suspicious(self) -> bool:
        """Whether a label or a cluster is decided outside of its objects more often than chance explains."""
        return any(each.suspicious for each in [*self.labels, *self.clusters])


class Assumption(ResponseModel):
    """Something that the service takes to be so about a model.

    Attributes:
        what: field of the models file.
        source: `entry` (the models file), `file` (the model's own), `checked` on probe images, or `convention`.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    what: str
    value: str
    source: str = Field(alias="from")


class ModelCard(ResponseModel):
    """A model that the service has.

    Attributes:
        task: `classification`, `detection` or `segmentation`; None while it is not known.
        input_size: height and width in pixels; None: any size.
        default_fill: what hides where a request names no fill; None: as the method says.
        state: `ready`, `loading` or `failed`, for the `reason`.
    """

    id: str
    task: str | None = None
    labels: list[str] = Field(default_factory=list)
    input_size: tuple[int, int] | None = None
    digest: str | None = None
    max_masks: int | None = None
    batch: int | None = None
    default_fill: str | None = None
    state: str
    reason: str | None = None
    assumptions: list[Assumption] = Field(default_factory=list)


class MethodCard(ResponseModel):
    """A method that the service offers; `parameters` is the JSON Schema of what it takes."""

    id: str
    summary: str
    tasks: list[str]
    default_for: list[str]
    parameters: dict[str, Any]


class Prediction(ResponseModel):
    """One class or detection that a model sees in an image."""

    label: int
    name: str
    score: float
    box: Box | None = None
