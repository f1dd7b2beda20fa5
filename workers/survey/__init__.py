"""Shortcuts in an annotated data set: figures per case, clusters of maps, tests, sentences. NumPy and scikit-learn."""
