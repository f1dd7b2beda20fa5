"""Models behind the Open Inference Protocol v2 and KServe v1."""
