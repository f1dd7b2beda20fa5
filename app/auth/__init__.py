"""Who sends a request: API keys, principals, scopes."""
