"""Small models that are explained in seconds, for `make run` and the tests."""
