"""Ratios, measured in one run, with peers beside us: `make bench` writes `bench/RESULTS.md`."""
