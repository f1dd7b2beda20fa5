"""Surveys of annotated batches: which figures and which report are still missing; jobs of workers compute them.

Each chunk of images is a job, and the report is one. What a job stores is the only record of it, so whoever looks next,
the submitter of batches or a client that reads the report, enqueues what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.batches.status import ACTIVE, item_status
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import BlobNotFoundError, RiseError, reported_error
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import SURVEY_FIGURES, SURVEY_REPORT, JobQueue
from app.contract.schemas import Failure
from app.contract.storage.object_store import (
    BlobStore,
    figures_blob,
    survey_failure_blob,
    survey_folder,
    survey_report_blob,
)
from app.contract.survey import CHUNK, SurveyImage, SurveyReport
from app.explanations.catalogue import CatalogueReader

_SECONDS_PER_IMAGE = 0.03  # of a small network on a core: for the queue's estimates


@dataclass(frozen=True)
class SurveyProgress:
    """How far a survey is.

    Attributes:
        ended: images whose explanations have ended.
        measured: images in chunks whose figures are stored.
        total: images.
        reported: whether the report is stored.
        reason: why nothing can be computed now; None where it can.
    """

    ended: int
    measured: int
    total: int
    reported: bool
    reason: str | None


@dataclass(frozen=True)
class Surveys:
    """Advances surveys and reads their reports.

    Attributes:
        batches: the batches.
        blobs: where figures and reports are.
        jobs: the queues.
        catalogue: which queue serves a model.
    """

    batches: BatchStore
    blobs: BlobStore
    jobs: JobQueue
    catalogue: CatalogueReader

    def report(self, batch: BatchRecord) -> SurveyReport | None:
        """Return the report of a batch; None while there is none."""
        try:
            return SurveyReport.model_validate_json(self.blobs.get(survey_report_blob(batch.id)))
        except BlobNotFoundError:
            return None

    def advance(self, batch: BatchRecord) -> SurveyProgress:
        """Enqueue what can be computed now and is missing.

        Raises:
            RiseError: the failure of a job, until it is forgotten.
        """
        present = set(self.blobs.names(survey_folder(batch.id)))
        self._raise_failure(batch, present)
        items = self.batches.members(batch.id, range(batch.total))
        statuses = [
            item_status(batch, item, status) for item, status in zip(items, self.batches.statuses(items), strict=True)
        ]
        missing = [first for first in range(0, batch.total, CHUNK) if figures_blob(batch.id, first) not in present]
        reported, reason = survey_report_blob(batch.id) in present, None
        try:
            for first in missing:
                if not ACTIVE.intersection(statuses[first : first + CHUNK]):
                    self._measure(batch, first, items[first : first + CHUNK])
            if not missing and not reported:
                self._enqueue(batch, "report", SURVEY_REPORT, batch.id, batch.total, images=batch.total)
        except RiseError as error:  # no worker serves the model now
            reason = error.detail
        return SurveyProgress(
            ended=sum(status not in ACTIVE for status in statuses),
            measured=batch.total - sum(min(CHUNK, batch.total - first) for first in missing),
            total=batch.total,
            reported=reported,
            reason=reason,
        )

    def forget_failure(self, batch: BatchRecord) -> None:
        """Let what has failed be computed again."""
        self.blobs.delete([survey_failure_blob(batch.id)])

    def _raise_failure(self, batch: BatchRecord, present: set[str]) -> None:
        name = survey_failure_blob(batch.id)
        if name not in present:
            return
        try:
            failure = Failure.model_validate_json(self.blobs.get(name))
        except BlobNotFoundError:  # because another request has just let it be forgotten
            return
        raise reported_error(failure.code, f"the report was not made: {failure.detail}")

    def _measure(self, batch: BatchRecord, first: int, items: Sequence[BatchItem]) -> None:
        images = [
            SurveyImage(
                index=item.index,
                name=item.name,
                explanation=item.explanation,
                problem=item.error.detail if item.error else None,
            ).model_dump(exclude_none=True)
            for item in items
        ]
        self._enqueue(batch, f"{first:08d}", SURVEY_FIGURES, batch.id, first, images, images=len(images))

    def _enqueue(self, batch: BatchRecord, part: str, function: str, *arguments: object, images: int) -> None:
        queue = self.catalogue.now().queue_of(batch.request.model.id)
        tags = SchedulingTags(batch.tenant, "batch", _SECONDS_PER_IMAGE * images)
        self.jobs.enqueue_task(queue, f"survey-{batch.id}-{part}", function, *arguments, tags=tags)


def require_annotations(batch: BatchRecord) -> None:
    """Raise if a batch came without annotations.

    Raises:
        RiseError: `not-found`.
    """
    if batch.annotations is None:
        raise RiseError("not-found", f"batch {batch.id!r} has no report: it came without annotations")
