import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("torch", "workers", "torchvision", "timm", "transformers", "onnxruntime")


def test_the_front_end_imports_without_torch_and_without_the_workers() -> None:
    program = f"import sys, app.main, app.cli.main; sys.exit(any(name in sys.modules for name in {FORBIDDEN!r}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


STORES = (
    "app/contract/redis/",
    "app/contract/queue/",
    "app/contract/explanations/",
    "app/admission/",
    "app/auth/api_keys.py",
    "app/batches/store.py",
    "app/contract/counters.py",
    "workers/execution/shards.py",
    "workers/supervision/retry_policy.py",
)


def test_redis_commands_stand_in_the_modules_that_store() -> None:
    outside = [
        str(path)
        for folder in ("app", "workers")
        for path in Path(folder).rglob("*.py")
        if not str(path).startswith(STORES)
        and any(word in path.read_text() for word in (".hset(", ".hgetall(", ".xadd("))
    ]
    assert outside == []
