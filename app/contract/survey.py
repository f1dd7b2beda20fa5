"""What a survey of an annotated batch is made of: annotations of images, figures of cases, the report.

A *case* is one explained label in one image, of a detector one object in it. Annotations and figures are stored in
chunks of images, which are also the jobs: any worker of the model may take one.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.schemas import Box, StoredModel, unknown_as

CHUNK = 32
"""Images of one chunk: a second or two for a small network, and two kilobytes for each case."""

GRID = 16
"""Cells along each side of the maps that are compared; masks have 8 by default."""

CARRIES = 0.5
"""Share of the probability that the background alone brings in a case that is decided outside. On drawn shapes of two
seeds: .01 to .10 on average for each label of `shapes`, .81 and .93 for the stars of `clever-hans`."""

Explained = Literal["annotated", "predicted"]
Alignment = Literal["picture", "object"]


class RunLengths(StoredModel):
    """A mask as COCO has it: lengths of alternating runs of 0 and 1, column by column."""

    height: int
    width: int
    counts: list[int]


class AnnotatedObject(StoredModel):
    """One object in an image.

    Attributes:
        label: class index.
        box: x0, y0, x1, y1 in pixels of the image, clipped to it.
        polygons: x, y, x, y, ...; the object is their union.
    """

    label: int
    box: Box
    polygons: list[list[float]] = Field(default_factory=list)
    runs: RunLengths | None = None


class ImageAnnotation(StoredModel):
    """The objects of one image.

    Attributes:
        index: of the image in its batch.
        size: width and height that the annotations are for; None where they do not say.
    """

    index: int
    size: tuple[int, int] | None = None
    objects: list[AnnotatedObject]


class AnnotationChunk(StoredModel):
    """The annotations of a chunk of images; those without any are left out."""

    images: list[ImageAnnotation]


class SurveyImage(StoredModel):
    """An image of a chunk.

    Attributes:
        explanation: its explanation; None where it has none, for the `problem`.
    """

    index: int
    name: str
    explanation: str | None = None
    problem: str | None = None


class LeftOut(StoredModel):
    """An image of which there are no figures."""

    index: int
    name: str
    reason: str


class SurveyCase(StoredModel):
    """The figures of one explained label in one image, of a detector those of one object.

    Probabilities are those of the label; of a detector how well any of its proposals matches the object.
    """

    index: int = Field(description="Of the image in its batch.")
    name: str = Field(description="Of the image.")
    explanation: str
    target: int = Field(description="Index of the target in the explanation.")
    label: int = Field(description="Class index.")
    label_name: str
    of_detection: bool = Field(False, description="Whether it is one object, of a detector.")
    predicted: str | None = Field(
        description="The class of the highest probability in the image; of a detector, of what it detects in the place."
    )
    annotated: bool = Field(description="Whether an object of this label is annotated in the image, or in this place.")
    recognised: bool = Field(description="Whether the label is the predicted class.")
    box: Box = Field(description="Around the objects, in pixels of the image.")
    inside: float | None = Field(
        description="Share of the positive saliency inside the objects; null: there is none anywhere."
    )
    area: float = Field(description="Share of the picture inside the objects: what chance gives.")
    hit: bool = Field(description="Whether the map's maximum is inside the objects (pointing game).")
    whole: float = Field(description="Probability in the whole picture.")
    objects_alone: float = Field(description="Probability where everything but the objects is hidden.")
    background_alone: float = Field(description="Probability where the objects are hidden.")
    nothing: float = Field(description="Probability where everything is hidden.")
    reliability: float | None = None
    fidelity: float | None = None

    @property
    def background_share(self) -> float | None:
        """Share of the probability's rise over that of nothing which the background alone brings, 0..1."""
        return _share(self.background_alone - self.nothing, self.whole - self.nothing)

    @property
    def is_decided_outside(self) -> bool:
        """Whether the objects hold less of the saliency than of the area, and the background brings most of the score.

        Both are needed: saliency beside an object may be smoothing, and what is left of a probability without the
        object may be the shape of the hole.
        """
        share = self.background_share
        return self.inside is not None and share is not None and self.inside < self.area and share > CARRIES

    @property
    def objects_share(self) -> float | None:
        """The same of the objects alone."""
        return _share(self.objects_alone - self.nothing, self.whole - self.nothing)


_LEAST_RISE = 0.05  # of the probability: less is no ground for a ratio


def _share(part: float, whole: float) -> float | None:
    return min(max(part / whole, 0.0), 1.0) if whole >= _LEAST_RISE else None


class CaseFigures(StoredModel):
    """Means over cases, each with its 95 % interval."""

    inside: float | None = Field(None, description="Mean share of the positive saliency inside the objects.")
    inside_interval: tuple[float, float] | None = None
    area: float | None = Field(None, description="Mean share of the picture inside them: what chance gives.")
    pointing_game: float | None = Field(None, description="Share of maps whose maximum is inside the objects.")
    pointing_game_interval: tuple[float, float] | None = None
    objects_alone: float | None = Field(
        None, description="Mean share of the score that is left where only the objects are visible."
    )
    background_alone: float | None = Field(
        None, description="Mean share of the score that is left where only the background is visible."
    )
    background_alone_interval: tuple[float, float] | None = None
    decided_outside: int = Field(
        0,
        description="Cases with less saliency inside the objects than chance gives and more than half of the score on "
        "the background alone.",
    )
    p_value: float | None = Field(None, description="Of the test behind `suspicious`, corrected by Holm's method.")
    suspicious: bool = False
    sentence: str = ""


class LabelReport(CaseFigures):
    """One explained label."""

    name: str
    label: int
    images: int = Field(description="Images in which it was explained; of a detector, objects.")
    recognised: int = Field(description="Those in which it is the model's class; all other figures are of these.")
    reliability: float | None = None
    fidelity: float | None = None
    mean_map: list[list[float]] = Field(default_factory=list)


class ClusterReport(CaseFigures):
    """Cases of one label whose maps are alike."""

    label: str
    images: int
    share: float = Field(description="Of the cases of the label that are recognised.")
    alignment: Annotated[Alignment, unknown_as("picture")] = Field(
        description="Whether maps are compared as they lie in the picture, or around the object."
    )
    stability: float = Field(description="Mean overlap (Jaccard) with the cluster found again in resampled cases.")
    place: str = Field(description="Where its saliency is, in words.")
    mean_map: list[list[float]] = Field(description="`[16, 16]`; around the object: the middle half is its box.")
    members: list[int] = Field(description="Indices into `cases`, those decided outside first.")


class SurveyReport(StoredModel):
    """The report of a survey as it is stored."""

    images: int
    sentences: list[str]
    labels: list[LabelReport]
    clusters: list[ClusterReport]
    left_out: list[LeftOut]
    cases: list[SurveyCase]

    @property
    def suspicious_cases(self) -> set[int]:
        """Places in `cases` of those decided outside that belong to a suspicious cluster or label."""
        members = {place for cluster in self.clusters if cluster.suspicious for place in cluster.members}
        labels = {label.label for label in self.labels if label.suspicious}
        return {
            place
            for place, case in enumerate(self.cases)
            if case.is_decided_outside and case.recognised and (place in members or case.label in labels)
        }
