"""Geometry and statistics of maps that both processes need, in NumPy."""
