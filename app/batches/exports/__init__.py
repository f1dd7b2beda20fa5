"""Exports of the results of a batch: an archive, a table, a COCO data set, tasks for Label Studio; all are streamed."""
