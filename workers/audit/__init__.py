"""The audit of a finished explanation: other fills, masks that hide less, finer masks, and probes for jumps and memory.

`plan.py` says which blocks are needed and at most how many passes the rest takes; `conclusion.py` asks the rest and
returns the checks; `sentences.py` has all thresholds, each with what was measured. Each check is defined in its module.
"""
