"""Lua scripts say what they take, spell no keys, and are complete wherever they are installed."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from redis import Redis

from app.contract.lua_scripts import lua

LUA = Path(str(files("app.contract") / "lua"))
SCRIPTS = sorted(file.stem for file in LUA.glob("*.lua"))
FILES = sorted(str(file.relative_to(LUA)) for file in LUA.rglob("*.lua"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_server_takes_every_script(redis: Redis, name: str) -> None:
    assert redis.script_load(lua(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_at_its_head_what_it_takes(name: str) -> None:
    lines = (LUA / f"{name}.lua").read_text().splitlines()
    header = [line[3:7] for line in lines if line.startswith("-- ")]
    assert header
    code = [line for line in lines if not line.startswith("--")]
    for given in ("KEYS", "ARGV"):
        assert given in header or not any(given in line for line in code)


@pytest.mark.parametrize("file", FILES)
def test_no_script_spells_a_key(file: str) -> None:
    assert not re.findall(r"'(?:rise|rq):", (LUA / file).read_text())


def test_every_key_is_built_in_one_module() -> None:
    root = Path(__file__).resolve().parents[2]
    spelled = [
        path.relative_to(root).as_posix()
        for package in ("app", "workers")
        for path in (root / package).rglob("*.py")
        if re.search(r"[\"'](?:rise|rq):\w", path.read_text())
    ]
    assert spelled == ["app/contract/redis/keys.py"]


def test_what_several_scripts_require_stands_in_each_once_and_before_its_use() -> None:
    text = lua("end_explanation")
    for function in ("make_due", "notify", "change", "count_ended", "remember_blocks", "record_service_time"):
        assert text.count(f"local function {function}(") == 1
        assert text.index(f"local function {function}(") < text.rindex(f"{function}(")
    assert lua("end_explanation") is text


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        lua("nonsense")
