"""Untrusted bytes to a validated image; uploads; images fetched by URL."""
