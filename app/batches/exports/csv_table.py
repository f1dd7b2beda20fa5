"""What is known about each target of a batch as one streamed CSV file: scores, reliability, evidence."""

from collections.abc import Iterator

from app.batches.exports.csv_lines import csv_line
from app.batches.exports.explained_items import failure_of, image_fields, iter_items
from app.batches.store import BatchRecord, BatchStore
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import Evidence, JsonObject, TargetResult

_COLUMNS = (
    *("index", "name", "status", "explanation", "target", "label", "label_name", "score"),
    *("x0", "y0", "x1", "y1", "peak_x", "peak_y", "reliability", "fidelity", "interaction_share"),
    *("least_relevant_drop", "least_relevant_random", "fill_score", "fill_class", "fill_class_probability"),
    *("consistency", "sentences", "error"),
)


def stream_csv(batch: BatchRecord, batches: BatchStore, store: ExplanationStore) -> Iterator[bytes]:
    """Yield a CSV file with a row for each target; an image without any has one row, with its status and error.

    What is unknown is an empty cell.
    """
    yield csv_line(_COLUMNS)
    for item, record in iter_items(batch, batches, store):
        failure = failure_of(item, record)
        image = image_fields(batch, item, record) | {"error": failure.detail if failure else None}
        for target in record.targets if record and record.targets else [None]:
            row = image | (_of_target(target) if target else {})
            yield csv_line(row.get(column) for column in _COLUMNS)


def _of_target(target: TargetResult) -> JsonObject:
    corners = zip(("x0", "y0", "x1", "y1"), target.box or (), strict=False)
    peak = zip(("peak_x", "peak_y"), target.peak or (), strict=False)
    return {
        "target": target.index,
        "label": target.label,
        "label_name": target.name,
        "score": target.score,
        "reliability": target.reliability,
        **dict(corners),
        **dict(peak),
        **(_of_evidence(target.evidence) if target.evidence else {}),
        **({"error": target.error.detail} if target.error else {}),
    }


def _of_evidence(evidence: Evidence) -> JsonObject:
    hidden, fill = evidence.least_relevant_first, evidence.fill_score
    return {
        "fidelity": evidence.fidelity,
        "interaction_share": evidence.interaction_share,
        "least_relevant_drop": hidden and hidden.drop,
        "least_relevant_random": hidden and hidden.random,
        "fill_score": fill and fill.target,
        "fill_class": fill and fill.top_class,
        "fill_class_probability": fill and fill.probability,
        "sentences": " ".join(evidence.sentences),
    }
