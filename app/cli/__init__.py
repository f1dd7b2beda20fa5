"""The command `rise-serve`, and the single-machine mode `rise-serve up`."""
