"""Authentication and authorisation: API keys, principals, scopes."""
