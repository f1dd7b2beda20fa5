"""Redis: client, retries, Sentinel, key names, leased queues."""
