"""Run by the tests in Label Studio's environment: what its own SDK says of predictions and of brush masks.

Reads `{"config", "predictions", "codes": [[bytes, height, width], ...]}` from its input, and writes
`{"errors": [...], "insides": [[row, column, area], ...]}`: centre and size of what the SDK decodes.
"""

import json
import sys

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

asked = json.load(sys.stdin)
interface = LabelInterface(asked["config"])
errors = [interface.validate_prediction(prediction, return_errors=True) for prediction in asked["predictions"]]
insides = []
for code, height, width in asked["codes"]:
    rows, columns = np.nonzero(decode_rle(code).reshape(height, width, 4)[:, :, 3])
    insides.append([float(rows.mean()), float(columns.mean()), len(rows)])
json.dump({"errors": errors, "insides": insides}, sys.stdout)
