"""Which fill hides best: fills beside each other on networks that never saw a mask."""
