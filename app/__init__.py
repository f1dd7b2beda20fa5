"""The front end: HTTP in, Redis out. It never imports torch and never imports `workers`."""
