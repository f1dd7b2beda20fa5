"""How much memory is left for models, on a GPU or on this machine (or in this container)."""

from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def memory_bytes(device: torch.device) -> dict[str, int]:
    """Return how much of a device's memory is `used`, and its `total`."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return {"used": total - free, "total": total}
    memory = psutil.virtual_memory()
    return {"used": memory.total - memory.available, "total": memory.total}


def free_share(device: torch.device) -> float:
    """Return the share of a device's memory that is free, 0..1."""
    memory = memory_bytes(device)
    free = 1 - memory["used"] / memory["total"]
    return free if device.type == "cuda" else min(free, _free_share_of_container(_CGROUP))


def _free_share_of_container(folder: Path) -> float:
    """Return the free share of a container's memory, 1 where there is no limit (cgroup version 2)."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        inactive = _statistic(folder / "memory.stat", "inactive_file")
    except (OSError, ValueError):
        return 1.0
    return 1.0 if limit == "max" else 1 - (used - inactive) / int(limit)


def _statistic(path: Path, name: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(value) for key, value in lines if key == name), 0)
