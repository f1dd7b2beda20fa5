"""The folder of integrations: what the operator has not switched on is not there, the rest lives with the app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

import app.main
from app.contract.settings import Settings
from app.integrations import integrations
from app.main import create_app


def paths(settings: Settings) -> list[str]:
    return [str(route.path) for route in iter_route_contexts(create_app(settings).routes)]


def test_a_service_without_settings_for_it_has_no_integration() -> None:
    assert integrations(Settings()) == []
    assert not [path for path in paths(Settings()) if path.startswith("/integrations")]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"origin": app.state.services.settings.host}


router = APIRouter(prefix="/integrations/try", include_in_schema=False, lifespan=lifespan)


@router.get("")
def origin(request: Request) -> str:
    said: str = request.state.origin
    return said


def test_an_integration_lives_as_long_as_the_front_end_and_stands_in_no_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, valkey: str
) -> None:
    monkeypatch.setattr(app.main, "integrations", lambda _: [SimpleNamespace(router=router)])
    settings = Settings(data=tmp_path, redis_url=valkey)
    with TestClient(create_app(settings)) as client:
        assert client.get("/integrations/try").json() == settings.host
        assert not [path for path in client.get("/openapi.json").json()["paths"] if "integrations" in path]
