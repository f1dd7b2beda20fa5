"""The GPU half: Redis in, tensors through, Redis and blobs out. No HTTP."""
