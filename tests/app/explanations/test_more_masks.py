"""The same request with more masks goes on from the blocks of the finished one."""

import os
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.conftest import Service
from tests.support.api_requests import explain
from tests.system.test_worker_faults import the_map


def explained(http: httpx2.Client, star: bytes, **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = explain(http, star, seed=os.getpid(), **fields).json()
    assert body["status"] == "succeeded", body
    return body


def test_more_masks_continue_the_finished_explanation_and_give_the_map_of_one_that_never_stopped(
    http: httpx2.Client, service: Service, star: bytes
) -> None:
    few = explained(http, star, masks=1024, until=1)
    more = explained(http, star, masks=2048, until=1)
    assert more["id"] != few["id"]
    assert more["provenance"]["masks_used"] == 2048
    http.delete(f"/v1/explanations/{few['id']}")
    more_map = the_map(f"{service.url}/v1/explanations/{more['id']}")
    http.delete(f"/v1/explanations/{more['id']}")
    alone = explained(http, star, masks=2048, until=1)
    assert alone["id"] == more["id"]
    assert alone["targets"] == more["targets"]
    assert np.array_equal(the_map(f"{service.url}/v1/explanations/{alone['id']}"), more_map)


@pytest.mark.parametrize(("model", "grid"), [("shapes", 7), ("shapes-detector", 12)])
def test_what_continues_evaluates_only_what_is_missing(http: httpx2.Client, star: bytes, model: str, grid: int) -> None:
    first = explained(http, star, model=model, grid=grid, masks=1024, until=1)
    used, blocks = (first["provenance"][name] for name in ("masks_used", "blocks"))
    more = explained(http, star, model=model, grid=grid, masks=used + 1, until=1)
    assert more["provenance"]["blocks"] == blocks + 1
    block = used // blocks
    fewer = explained(http, star, model=model, grid=grid, masks=used - block, until=1)
    assert fewer["progress"]["masks_per_second"] == 0, "all of it was there"
    assert fewer["provenance"]["masks_used"] == used - block
    assert [target["label"] for target in fewer["targets"]] == [target["label"] for target in first["targets"]]
    lax = explained(http, star, model=model, grid=grid, masks=100_000, until=0.3)
    assert lax["provenance"]["stopped"] == "reliable"


def test_the_next_best_is_found_where_the_best_was_deleted(http: httpx2.Client, star: bytes) -> None:
    best = explained(http, star, masks=1024, until=1, grid=6)
    http.delete(f"/v1/explanations/{best['id']}")
    explained(http, star, masks=512, until=1, grid=6)
    fewer = explained(http, star, masks=256, until=1, grid=6)
    assert fewer["progress"]["masks_per_second"] == 0


def test_another_seed_or_fill_continues_nothing(http: httpx2.Client, star: bytes) -> None:
    explained(http, star, masks=512, until=1, grid=5)
    other = explained(http, star, masks=512, until=0.999999, grid=5, fill="white")
    assert other["progress"]["masks_per_second"] > 0
