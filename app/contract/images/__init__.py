"""Bytes of images: which formats are read, grey values of more than 8 bits, and pixels upright."""
