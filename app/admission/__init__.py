"""Whether a request is let in now: bounded queue, quotas, rate limits, estimated waiting times."""
