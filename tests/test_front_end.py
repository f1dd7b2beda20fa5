import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("torch", "workers", "torchvision", "timm", "transformers", "onnxruntime")


def test_the_front_end_imports_without_torch_and_without_the_workers() -> None:
    program = f"import sys, app.main, app.cli; sys.exit(any(name in sys.modules for name in {FORBIDDEN!r}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_redis_commands_stand_in_the_contract_alone() -> None:
    outside = [
        path
        for folder in ("app", "workers")
        for path in Path(folder).rglob("*.py")
        if path.parent.name != "contract"
        and any(word in path.read_text() for word in (".hset(", ".hgetall(", ".xadd("))
    ]
    assert outside == []


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    long = {
        str(path): count
        for folder in ("app", "workers")
        for path in Path(folder).rglob("*.py")
        if (count := path.read_text().count("\n")) > 300
    }
    assert long == {}
