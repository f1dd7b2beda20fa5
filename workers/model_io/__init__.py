"""From a models-file entry to inputs and outputs: preprocessing, proposals, detections."""
