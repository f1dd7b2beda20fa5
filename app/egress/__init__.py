"""Outgoing requests to addresses that clients named: images by URL, and callbacks.

They are protected against server-side request forgery: `allowlist.py` has the hosts that may be named,
`public_addresses.py` the IP addresses that may be reached, and `client.py` connects to the very address that was
checked.
"""
