"""How far a map can be trusted: figures that come with every map, and what they say in words.

Two come from the blocks alone (`workers/saliency/block_statistics.py`); the others ask the model for about 20 more
pictures (`probes.py`). `sentences.py` has all thresholds.
"""
