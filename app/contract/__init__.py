"""What the front end and the workers agree on: schemas, errors, settings, store, queue, geometry. No torch, no HTTP."""
