"""Small models that explain themselves in seconds: what `make run` shows before anyone brings their own."""
