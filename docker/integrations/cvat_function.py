"""For `cvat-cli task auto-annotate --function-file`: where a model of rise-serve looks, or what it sees (cvat.md)."""

from rise_client.cvat import create

__all__ = ["create"]
