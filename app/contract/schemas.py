"""The values that are sent, stored in Redis and announced by workers, all of them JSON.

Requests reject unknown fields. What the service's own processes store and announce may have some, because during an
upgrade two versions read each other's values: unknown fields are ignored, and names that a newer version has added to
a fixed set (`unknown_as`) are read as a default.
"""

import logging
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

logger = logging.getLogger(__name__)

JsonObject = dict[str, Any]

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
TopTargets = Annotated[str, Field(pattern=r"^top:[1-9][0-9]{0,2}$", examples=["top:5"])]
Box = tuple[float, float, float, float]
BoxList = Annotated[Box, Strict(False)]  # because JSON has no tuples; its numbers stay strict
Metric = Literal["deletion", "insertion", "pointing-game", "energy-in-box", "average-drop", "randomised-model"]
Task = Literal["classification", "detection", "segmentation"]
Priority = Literal["interactive", "batch"]
Integer = Annotated[int, BeforeValidator(lambda given: int(given) if _is_integral(given) else given)]
"""An integer as JSON Schema has it, `3.0` included, where pydantic is strict."""

Label = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1, max_length=200)]


def _is_integral(given: object) -> bool:
    return isinstance(given, float) and given.is_integer()


class RequestModel(BaseModel):
    """What a client or an operator writes, frozen; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StoredModel(BaseModel):
    """What the service itself stores, announces or answers, frozen; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Stored = TypeVar("Stored", bound=StoredModel)


def unknown_as(fallback: Any) -> WrapValidator:
    """Return a validator that reads what is not valid here, because a newer version wrote it, as `fallback`."""

    def read(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            return fallback

    return WrapValidator(read)


def read_all(kind: type[Stored], texts: Iterable[bytes]) -> list[Stored]:
    """Return values from their JSON, without those that a newer version wrote in a way that cannot be read here."""
    values = []
    for text in texts:
        try:
            values.append(kind.model_validate_json(text))
        except ValidationError as cause:  # because one value must not keep all others from being read
            logger.warning("passed over a %s that cannot be read: %s", kind.__name__, cause)
    return values


class TargetSpec(StoredModel):
    """A target as it is stored with its request."""

    label: Label | None = Field(None, description="Index or name of a class.")
    box: BoxList | None = Field(None, description="x0, y0, x1, y1 in pixels (detectors).")


class TargetRequest(TargetSpec):
    """What to explain: a class, or for detectors a box in pixels of the upright image, with or without a class."""

    # Strict because the schema, from which clients are generated, has no other types.
    model_config = ConfigDict(strict=True, extra="forbid")


class ExplanationParams(RequestModel):
    """The part of a request that is the same for every method."""

    model: Identifier = Field(description="Id from `GET /v1/models`.")
    method: Identifier | None = Field(None, description="Id from `GET /v1/methods`; the default fits the model's task.")
    targets: TopTargets | Annotated[list[TargetRequest], Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="What to explain: `top:N`, or a list of labels or boxes. "
        "Default: the top class (classifier), all detections (detector).",
    )
    priority: Priority = Field(
        "interactive", description="`batch` waits until nothing interactive does; it changes nothing about the result."
    )
    audit: bool = Field(
        False, description="Audit it, too: `POST /v1/explanations/{id}/audit`; it changes nothing about the map."
    )


class ModelRef(StoredModel):
    """Which model, and which weights."""

    id: str
    digest: str = Field(description="Hash of weights and entry; part of every explanation's identity.")


class CanonicalRequest(StoredModel):
    """A request with every default filled in: what is hashed, stored and read by the worker."""

    model: ModelRef
    method: str
    targets: TopTargets | list[TargetSpec] | None
    parameters: JsonObject


class ImageInfo(StoredModel):
    """The uploaded image, upright (EXIF rotation applied)."""

    width: int
    height: int
    sha256: str = Field(description="Of the uploaded bytes.")
    media_type: str
    scaled: str | None = Field(
        None,
        description="How grey values of more than 8 bits, or negative or floating ones, became 0 to 255, as a "
        "sentence; null where the image has 8 bits.",
    )


class Status(StrEnum):
    """Where an explanation is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


StoredStatus = Annotated[Status, unknown_as(Status.RUNNING)]  # because it may not have ended


class Progress(StoredModel):
    """How far a running explanation is."""

    masks: int = Field(0, description="Masked images evaluated so far.")
    total: int = Field(description="Masks after which it ends at the latest.")
    masks_per_second: float | None = None
    eta_seconds: float | None = Field(
        None, description="Seconds until `total` at the present rate; it may end earlier."
    )
    reliability: float | None = Field(None, description="Of the least converged target, 0..1; see `targets`.")


class Failure(StoredModel):
    """Why an explanation failed."""

    code: str
    detail: str


class HiddenCells(StoredModel):
    """What hiding some cells at once does to the score."""

    cells: int = Field(description="Cells hidden at once: those with the least absolute effect in the map.")
    drop: float = Field(description="By how much the score falls, in units of the score.")
    random: float = Field(
        description="By how much it falls where as many random cells are hidden; mean of three draws."
    )


class LeastRelevantFirst(HiddenCells):
    """Half of the cells hidden, those that matter least; a map that misses nothing has a small drop beside `random`.

    Samek et al., IEEE TNNLS 2017.
    """

    steps: list[HiddenCells] = Field(default_factory=list, description="The same for a tenth, a quarter, a half.")


class FillScore(StoredModel):
    """What the model sees where everything is hidden."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    target: float | None = Field(
        None, description="The target's probability or match there, as a share of that in the image."
    )
    top_class: str | None = Field(
        None, alias="class", description="The class or detection with the highest probability; null: none."
    )
    probability: float | None = Field(None, description="Of `class`.")


class Evidence(StoredModel):
    """How far a map can be trusted; null is what is not defined for it."""

    fidelity: float | None = Field(
        None,
        description="Share of the scores' variance that adding up effects explains in masks that were left out when "
        "they were estimated (cross-validated R2); below 0: worse than the mean.",
    )
    interaction_share: float | None = Field(
        None, description="Share of the scores' variance that comes from regions acting together in even numbers."
    )
    least_relevant_first: LeastRelevantFirst | None = None
    fill_score: FillScore | None = None
    sentences: list[str] = Field(default_factory=list, description="Each figure in words.")


AuditVerdict = Literal["nothing-found", "caution", "alarm"]


class AuditCheck(StoredModel):
    """One check of an audit."""

    check: str = Field(
        description="`fill-dependence`, `low-opacity`, `resolution`, `class-specificity`, `white-box`, "
        "`discontinuity` or `consistency`; later ones may follow."
    )
    verdict: Annotated[AuditVerdict, unknown_as("caution")] = Field(
        description="`alarm` only of `discontinuity` and `consistency`: the model reacts to masks as such, or does not "
        "only look at the image."
    )
    value: float | None = Field(None, description="Of the worst target; null where the check says nothing here.")
    sentence: str = Field(description="What was found, in words.")
    details: JsonObject = Field(default_factory=dict, description="Figures behind the value, of each target as well.")


class AuditResult(StoredModel):
    """What an audit found."""

    verdict: Annotated[AuditVerdict, unknown_as("caution")] = Field(description="The worst of all checks.")
    passes: int = Field(description="Pictures that the model was asked.")
    checks: list[AuditCheck]
    limits: str = Field(description="What no check can see.")


class TargetResult(StoredModel):
    """One target of an explanation."""

    index: int = Field(
        ge=-1, description="Place in this list, and in the map's address; -1: a class that was not asked for."
    )
    label: int | None = Field(description="Class index.")
    name: str | None = Field(description="Class name.")
    score: float | None = Field(description="The model's score on the unmasked image.")
    box: Box | None = Field(None, description="x0, y0, x1, y1 in pixels (detectors).")
    reliability: float | None = Field(
        None, description="Expected correlation of the map with the fully converged one, 0..1; null: one block."
    )
    matched: float | None = Field(None, description="Share of masked images in which anything matched (detectors).")
    warnings: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list, description="The strongest effects, in words.")
    error: Failure | None = Field(None, description="Why this target has no map that means anything.")
    peak: tuple[float, float] | None = Field(None, description="x, y of the map's maximum, in pixels of the image.")
    evidence: Evidence | None = Field(
        None, description="How far the map can be trusted; null before the end, and for the published estimator."
    )


class Provenance(StoredModel):
    """What it takes to get the same map again."""

    version: str
    device: str
    precision: str
    seed: int
    masks_used: int
    blocks: int
    grid: tuple[int, int] | None = Field(None, description="Cells along the height and along the width.")
    tiles: int | None = Field(
        None,
        description="Parts of the image that were hidden independently of each other: as many as there are cells, or "
        "fewer where `grid=auto` hides cells four at a time that are far from small targets.",
    )
    degrees_of_freedom: int | None = Field(
        None,
        description="Of the map's standard error, which is pooled over neighbouring cells: a 95 % interval reaches as "
        "many standard errors to each side as Student's t says. 0: one block, no error bars.",
    )
    workers: int = Field(1, description="Workers that computed a part of it.")
    evidence_passes: int = Field(0, description="Pictures that the model was asked for evidence, beyond the masks.")
    stopped: Annotated[Literal["reliable", "all-masks"], unknown_as("all-masks")] = Field(
        description="Why it ended: `until` was reached, or `masks`."
    )


class CanvasInfo(StoredModel):
    """The pixel grid on which masks were applied."""

    height: int
    width: int
    grid: tuple[int, int]
    view: tuple[float, float, float, float]
    refined: tuple[tuple[int, int], ...] | None = Field(
        None, description="Squares of two by two cells whose cells are hidden one by one; all others' together."
    )


class Checkpoint(StoredModel):
    """One blob of effects: consecutive blocks from `first` on; or, for sums, all `count` blocks so far."""

    blob: str
    first: int
    count: int


class State(StoredModel):
    """Where the effects of an explanation lie, and what is needed to draw them.

    `effects` holds arrays `[blocks, R + E, K, h, w]`, one blob per checkpoint; the last E rows are no effects: moments
    of scores (`workers/explainer/stored_blocks.py`). `moments` (the published estimator) holds one array
    `[2, R, K, H, W]`, mean and summed squared deviation of block maps on the canvas.
    """

    kind: Literal["effects", "moments"]
    canvas: CanvasInfo
    seed: int
    rows: list[int] = Field(description="Class index of each row R; empty for detectors.")
    target_rows: list[int] = Field(description="Row of each target.")
    fills: list[str] = Field(description="Name of each fill K.")
    shrink: bool = Field(False, description="Whether what is mostly noise is taken out when maps are drawn.")
    scale: float = Field(1.0, description="Factor on the mean of block maps; the method's sign and unit.")
    checkpoints: list[Checkpoint] = Field(default_factory=list)

    @property
    def blocks(self) -> int:
        """Blocks that are safely stored."""
        if self.kind == "moments":
            return self.checkpoints[-1].count if self.checkpoints else 0
        return sum(checkpoint.count for checkpoint in self.checkpoints)


class MaskedView(StoredModel):
    """Maps of the same targets in another way of hiding, which an audit compares with the explanation's.

    Or of a method that hides nothing, as the published estimator's maps are stored: Grad-CAM has the network's last
    feature map for its canvas, and one map for its mean.
    """

    name: str = Field(description="A fill; `opacity`: masks that hide only partly; or `grad-cam`.")
    parameters: JsonObject = Field(description="All of them; fill, opacity and score may be others.")
    state: State


class ExplanationRecord(StoredModel):
    """Everything that is stored of an explanation, blobs aside."""

    id: str
    tenant: str = Field("public", description="Whose it is.")
    priority: Priority = Field("interactive", description="The best one that it was asked for with while it waited.")
    request: CanonicalRequest
    image: ImageInfo
    status: StoredStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime
    origin: dict[str, str] = Field(default_factory=dict, description="Request id and trace that it came from.")
    execution: str | None = None
    progress: Progress | None = None
    targets: list[TargetResult] = Field(default_factory=list)
    state: Annotated[State | None, unknown_as(None)] = None
    provenance: Provenance | None = None
    consistency: float | None = None
    audited: bool = Field(False, description="Whether it has an audit, which is a record of its own.")
    views: list[MaskedView] = Field(default_factory=list, description="Of an audit.")
    audit: AuditResult | None = Field(None, description="Of an audit: what it found.")
    error: Failure | None = None

    @property
    def parameters(self) -> JsonObject:
        """The request's parameters; a grid that was left to the worker as it chose it, where two numbers say it."""
        asked = self.request.parameters
        if self.state is None or asked.get("grid") != "auto" or self.state.canvas.refined is not None:
            return asked
        rows, columns = self.state.canvas.grid
        return {**asked, "grid": rows if rows == columns else [rows, columns]}

    @property
    def has_no_target(self) -> bool:
        """Whether it has ended because the image has nothing to explain."""
        return self.status is Status.FAILED and self.error is not None and self.error.code == "no-target"

    @property
    def is_answered(self) -> bool:
        """Whether it has ended with a result: maps, or that there is nothing to explain."""
        return self.status is Status.SUCCEEDED or self.has_no_target


AssumptionSource = Literal["entry", "file", "checked", "convention"]


class Assumption(StoredModel):
    """Something that a model's loader takes to be so."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    what: str = Field(description="Field of the models file.")
    value: str
    source: Annotated[AssumptionSource, unknown_as("convention")] = Field(
        alias="from",
        description="The models file (`entry`), the model's own file (`file`), the model's outputs for probe pictures "
        "(`checked`), or what is usual where none of them tells (`convention`).",
    )


class ModelCard(StoredModel):
    """A model that a live worker serves."""

    id: str
    task: Annotated[Task | None, unknown_as(None)] = None
    labels: list[str] = Field(default_factory=list)
    input_size: tuple[int, int] | None = Field(None, description="Height and width in pixels; null: any size.")
    digest: str | None = None
    max_masks: int | None = Field(None, description="Masks of one explanation at most; null: as the method says.")
    batch: int | None = Field(None, description="Masked images per forward pass.")
    default_fill: str | None = Field(
        None, description="What hides where a request does not say; null: as the method says."
    )
    state: Annotated[Literal["ready", "loading", "failed"], unknown_as("loading")]
    reason: str | None = Field(None, description="Why it failed to load.")
    assumptions: list[Assumption] = Field(default_factory=list, description="What is assumed about it, and whence.")


class MethodCard(StoredModel):
    """A method that a live worker offers."""

    id: str
    summary: str
    tasks: list[str] = Field(description="Tasks of the models that it explains.")
    default_for: list[str] = Field(description="Tasks for which it is the default.")
    parameters: JsonObject = Field(description="JSON Schema of its parameters, with defaults and limits.")


class Announcement(StoredModel):
    """What one worker says it can do; it renews this while it lives."""

    worker: str
    queue: str
    version: str
    device: str
    state: Annotated[Literal["idle", "busy"], unknown_as("busy")] = "idle"
    memory_bytes: dict[str, int] = Field(default_factory=dict, description="Of the device: used, total.")
    models: list[ModelCard]
    methods: list[MethodCard]
    fills: list[str]


class MetricsRequest(RequestModel):
    """What to measure about a finished map, and how."""

    model_config = ConfigDict(strict=True)

    target: Integer = Field(0, ge=0, le=1000, description="Index of the target.")
    metrics: list[Metric] = Field(
        ["deletion", "insertion", "average-drop"], min_length=1, max_length=6, description="Which metrics."
    )
    steps: Integer = Field(64, ge=1, le=1000, description="Steps of deletion and insertion.")
    substrate: str = Field(
        "blur", max_length=50, description="A fill: what deleted pixels show, and what insertion starts from."
    )
    box: BoxList | None = Field(None, description="x0, y0, x1, y1 of the object; default: the target's own box.")
    tolerance: float = Field(0.0, ge=0, le=100_000, description="Of the pointing game, in pixels.")
    seed: Integer = Field(0, ge=0, le=2**63 - 1, description="Breaks ties.")


class MetricResult(StoredModel):
    """One measured number with what it takes to measure it again."""

    value: float | None
    protocol: JsonObject
    curve: dict[str, list[float]] | None = Field(None, description="Scores at shares of changed pixels.")


class Prediction(StoredModel):
    """One class or detection that the model sees in an image: something that can be explained."""

    label: int
    name: str
    score: float
    box: tuple[float, float, float, float] | None = None
