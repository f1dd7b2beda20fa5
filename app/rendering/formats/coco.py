"""The region that holds a share of the positive saliency (`?level=`), as a COCO data set of one annotation.

The segmentation is run-length encoded with compressed counts; pycocotools, FiftyOne and CVAT load the file as it is.
"""

import json

from app.rendering.coco_rle import segmentation
from app.rendering.formats import RenderedMap, RenderOptions, require_single_fill
from app.rendering.regions import top_mass_region

ENDING = "coco.json"
MEDIA_TYPE = "application/json; coco=1"
ONE_FILL = True


def encode(rendered: RenderedMap, options: RenderOptions) -> bytes:
    """Return the bytes of a COCO file; sizes are those of the map, so `?max_side=` scales everything."""
    inside = top_mass_region(require_single_fill(rendered), options.level)
    target = rendered.target
    category = {"id": target.label if target.label is not None else 0, "name": target.name or str(target.label)}
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": category["id"],
        **segmentation(inside),
        "iscrowd": 1,
        "score": target.score,
        "level": options.level,
        "reliability": rendered.drawn.reliability,
    }
    image = {"id": 1, "width": inside.shape[1], "height": inside.shape[0], "file_name": rendered.record.id}
    return json.dumps({"images": [image], "categories": [category], "annotations": [annotation]}).encode()
