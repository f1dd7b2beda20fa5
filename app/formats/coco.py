"""The region that holds a share of the positive saliency (`?level=`), as a COCO data set of one annotation.

The segmentation is run-length encoded with compressed counts; pycocotools, FiftyOne and CVAT load the file as it is.
"""

import json

from app.formats import Sheet, Style, of_one_fill
from app.regions import region
from app.segmentation import segmentation

ENDING = "coco.json"
MEDIA_TYPE = "application/json; coco=1"
ONE_FILL = True


def encode(sheet: Sheet, style: Style) -> bytes:
    """Return the bytes of a COCO file; sizes are those of the map, so `?max_side=` scales everything."""
    inside = region(of_one_fill(sheet), style.level)
    target = sheet.target
    category = {"id": target.label if target.label is not None else 0, "name": target.name or str(target.label)}
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": category["id"],
        **segmentation(inside),
        "iscrowd": 1,
        "score": target.score,
        "level": style.level,
        "reliability": sheet.drawn.reliability,
    }
    image = {"id": 1, "width": inside.shape[1], "height": inside.shape[0], "file_name": sheet.record.id}
    return json.dumps({"images": [image], "categories": [category], "annotations": [annotation]}).encode()
