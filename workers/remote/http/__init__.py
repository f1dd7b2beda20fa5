"""Requests to model servers: client, retries, options."""
