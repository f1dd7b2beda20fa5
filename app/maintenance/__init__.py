"""Periodic tasks of the service: expiry, garbage collection, requeueing of orphans, and the runner for all of them."""
