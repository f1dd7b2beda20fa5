"""Label Studio's format of predictions, for its ML backend and for the export of batches."""
