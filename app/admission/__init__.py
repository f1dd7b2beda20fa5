"""Admission control: bounded queues, quotas, rate limits, estimated waiting times."""
