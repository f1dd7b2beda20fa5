"""Jobs on RQ: enqueueing, fair queueing, throughput."""
