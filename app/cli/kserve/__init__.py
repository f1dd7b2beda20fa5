"""`rise-serve kserve`: the explainer of an InferenceService, in one container."""
