"""Requests that leave the service for addresses that clients named: images by URL, and callbacks.

Whoever may name an address could name one inside the operator's network. Every such request goes through the guard:
`allowlist.py` says which addresses may be named, `public_addresses.py` which machines may be reached, `client.py`
sees to it that the machine that was checked is the one that is connected to.
"""
