"""`rise-serve up`: a Redis server, the front end and workers as children of one process."""
