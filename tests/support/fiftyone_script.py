"""Run by the tests in FiftyOne's environment: a real dataset with its database, and heat maps on its samples.

Reads `{"url", "pictures", "folder", "packages", "annotated", "annotations"}` from its input, and writes what the
samples have afterwards.
"""

import json
import sys

asked = json.load(sys.stdin)
sys.path += asked["packages"]  # behind FiftyOne's own

import fiftyone as fo  # noqa: E402
from fiftyone import ViewField  # noqa: E402

from rise_client import Client  # noqa: E402
from rise_client.fiftyone import add_heat_maps, add_survey  # noqa: E402

dataset = fo.Dataset("pictures")
dataset.add_samples([fo.Sample(filepath=picture) for picture in asked["pictures"]])
with Client(asked["url"]) as client:
    add_heat_maps(dataset, client, model="shapes", folder=asked["folder"], targets="top:2", most=2, masks=1000)
    annotated = fo.Dataset("annotated")
    annotated.add_samples([fo.Sample(filepath=picture) for picture in asked["annotated"]])
    coco = asked["annotations"]
    report = add_survey(annotated, client, annotations=coco, model="clever-hans", masks=128, until=1)
names = ("filepath", "survey_inside", "survey_background_alone", "survey_suspicious", "survey_cluster")
survey = {
    "samples": [[sample[name] for name in names] for sample in annotated],
    "view": [sample.filepath for sample in annotated.load_saved_view("survey_suspicious")],
    "sentences": report.sentences,
}
dataset.reload()
said = []
for sample in dataset:
    row = {"error": sample.get_field("saliency_error") if dataset.has_field("saliency_error") else None}
    for name in ("saliency", "saliency_2"):
        heat = sample[name]
        if heat is not None:
            pixels = heat.get_map()
            peak = [int(place) for place in divmod(int(pixels.argmax()), pixels.shape[1])]
            row[name] = {
                "label": heat.label,
                "score": heat.score,
                "strongest": heat.strongest,
                "explanation": heat.explanation,
                "range": heat.range,
                "dtype": str(pixels.dtype),
                "shape": list(pixels.shape),
                "low": int(pixels.min()),
                "high": int(pixels.max()),
                "peak": peak,
                "path": heat.map_path,
                "reliability": sample[f"{name}_reliability"],
            }
    said.append(row)
sure = dataset.match(ViewField("saliency_score") > 0.9).sort_by("saliency_reliability", reverse=True)
kind = dataset.get_field_schema()["saliency"].document_type.__name__
json.dump({"samples": said, "sure": len(sure), "kind": kind, "survey": survey}, sys.stdout)
