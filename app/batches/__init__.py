"""Batches: many images with one request, submitted a few at a time, and exports of their results."""
