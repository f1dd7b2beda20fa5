"""What loaders share: the entry of a model, its labels, its weights, its outputs, and where its module computes."""
