"""Explanation records in Redis: their state machine, and the outbox entries that their end makes."""
