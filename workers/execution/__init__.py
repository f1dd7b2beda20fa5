"""One run of one explanation: blocks, checkpoints, sharing with other workers, results."""
