"""The models of a worker: models file, loaded models, heartbeat."""
