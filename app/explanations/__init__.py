"""The use case: a request becomes an explanation, which is read, followed, listed, cancelled and deleted."""
