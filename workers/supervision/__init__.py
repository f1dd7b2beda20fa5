"""The RQ worker, its watchdog, retries, and the classification of errors."""
