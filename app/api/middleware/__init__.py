"""What every request passes: ASGI middleware, one concern per module."""
