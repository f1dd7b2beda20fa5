"""The mathematics: designs, masks, the loop, effects. Torch and NumPy in, torch and NumPy out; no Redis, HTTP or RQ."""
