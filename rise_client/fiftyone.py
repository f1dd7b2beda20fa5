"""Heat maps and surveys in FiftyOne: where a model looks, as fields of the samples of a dataset.

    from rise_client import Client
    from rise_client.fiftyone import add_heat_maps

    with Client("http://127.0.0.1:8000") as client:
        add_heat_maps(dataset, client, model="shapes", folder="heat-maps")

FiftyOne's `range` of a heat map is one of pixels, and its App reads a file of any depth as 8 bits and shows a pixel the
more opaque the farther it is from 0. So black is no effect here, white the strongest positive one, and `range` is left
to FiftyOne; what white means is an attribute of the label.
"""

import csv
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField
from numpy.typing import NDArray
from PIL import Image

from rise_client.batches import Batch
from rise_client.models import BatchItem, ReportData, TargetData
from rise_client.sync_client import Client

_WHITE = 65_535
_AT_ONCE = 200  # samples of one batch


def add_heat_maps(
    samples: Any,
    client: Client,
    *,
    model: str,
    folder: str | Path,
    field: str = "saliency",
    most: int = 1,
    **fields: Any,
) -> None:
    """Explain what a model sees in each sample, and add a heat map, the score and the reliability to it.

    A sample gets the fields `saliency`, `saliency_score` and `saliency_reliability` for its first target, and
    `saliency_2`, ... for more of them; or `saliency_error` with the reason why there is none.

    Args:
        samples: a dataset or a view of one, of images on this machine.
        client: of the service.
        model: a model's id.
        folder: for the files of heat maps, 16-bit grey PNGs; it is made.
        field: name of the first field, with which the others begin.
        most: targets of each sample.
        fields: any other field of the request, such as `targets="top:3"`, `masks=2000`.

    Raises:
        ServiceError: if the service refuses it as a whole.
    """
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    for chunk in _chunks(samples):
        batch = client.batch([sample.filepath for sample in chunk], model=model, **fields).wait()
        for sample, item in zip(chunk, batch.items(), strict=True):
            targets = [] if item.explanation is None else item.explanation.targets[:most]
            for number, target in enumerate(targets, start=1):
                name = field if number == 1 else f"{field}_{number}"
                _add(sample, name, item, target, client, place)
            if not targets:
                sample[f"{field}_error"] = _reason(item)
            sample.save()


def add_survey(
    samples: Any, client: Client, *, annotations: str | Path, model: str, field: str = "survey", **fields: Any
) -> ReportData:
    """Survey annotated samples, and add to each what the report says of it; return the report.

    A sample gets the fields `survey_inside` (share of the saliency inside its objects), `survey_background_alone`
    (share of the score that the background alone keeps), `survey_suspicious` and `survey_cluster` (where the maps of
    its cluster have their saliency, in words); of several labels in it, those of a suspicious one. The view
    `survey_suspicious` of suspicious samples, those with the least inside first, is saved with the dataset.

    Args:
        samples: a dataset or a view of one, of images on this machine.
        client: of the service.
        annotations: a COCO file of their objects, by the names of their files.
        model: a model's id.
        field: with which the names of fields and view begin.
        fields: any other field of the request, such as `explain="predicted"`, `masks=2000`.

    Raises:
        ServiceError: if the service refuses it as a whole, or the report cannot be made.
    """
    in_order = sorted(samples, key=lambda sample: Path(sample.filepath).absolute())
    batch = client.survey([sample.filepath for sample in in_order], annotations=annotations, model=model, **fields)
    report = batch.report()
    for index, row in _rows_by_image(batch).items():
        sample, numbers = in_order[index], row["clusters"].split()
        sample[f"{field}_inside"] = _number(row["inside"])
        sample[f"{field}_background_alone"] = _number(row["background_share"])
        sample[f"{field}_suspicious"] = row["suspicious"] == "True"
        sample[f"{field}_cluster"] = report.clusters[int(numbers[0])].place if numbers else None
        sample.save()
    dataset = samples if isinstance(samples, fo.Dataset) else fo.load_dataset(samples.dataset_name)
    suspicious = samples.match(ViewField(f"{field}_suspicious") == True)  # noqa: E712 - an expression of the database
    dataset.save_view(f"{field}_suspicious", suspicious.sort_by(f"{field}_inside"), overwrite=True)
    return report


def _rows_by_image(batch: Batch) -> dict[int, dict[str, str]]:
    """Return the row of each image in the report's CSV file, a suspicious one before others."""
    with tempfile.TemporaryDirectory() as folder:
        path = batch.download(Path(folder) / "report.csv", "report.csv")
        with path.open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["suspicious"] == "True")
    return {int(row["index"]): row for row in rows}


def _number(text: str) -> float | None:
    return float(text) if text else None


def _chunks(samples: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for sample in samples:
        chunk.append(sample)
        if len(chunk) == _AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _add(sample: Any, name: str, item: BatchItem, target: TargetData, client: Client, folder: Path) -> None:
    assert item.explanation is not None
    if target.error is not None:
        sample[f"{name}_error"] = target.error.detail
        return
    values = client.explanation(item.explanation.id).map_of(target.index)
    path = folder / f"{sample.id}-{name}.png"
    strongest = float(max(values.max(), 0.0))
    _picture(values, strongest).save(path)
    sample[name] = fo.Heatmap(
        map_path=str(path),
        label=target.name,
        score=target.score,
        reliability=target.reliability,
        strongest=strongest,
        explanation=item.explanation.id,
    )
    sample[f"{name}_score"] = target.score
    sample[f"{name}_reliability"] = target.reliability


def _picture(values: NDArray[np.float32], strongest: float) -> Image.Image:
    """Return the positive part of a map as a grey picture of 16 bits; of several fills, the strongest of each pixel."""
    flat = values if values.ndim == 2 else values.max(axis=0)
    share = np.clip(flat, 0, None) / strongest if strongest > 0 else np.zeros(flat.shape)
    return Image.fromarray(np.rint(share * _WHITE).astype(np.uint16))


def _reason(item: BatchItem) -> str:
    failure = item.error or (item.explanation.error if item.explanation else None)
    return failure.detail if failure else f"the explanation is {item.status}"
