"""The classes of the demo models, in the order of their indices."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
