"""The event stream, over real HTTP and straight from a real server."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from redis import Redis

from app.contract.explanations.store import ExplanationStore
from app.contract.redis.client import connect_async
from app.contract.redis.keys import events_key
from app.explanations.events import EventStreams
from app.explanations.pubsub import ChannelNotifier
from tests.conftest import Service, start_service, stop_service
from tests.contract.test_store import PROGRESS, a_record, a_store, publish
from tests.support.api_requests import explain
from tests.support.hostile_images import encoded
from tests.support.sse import opened
from tests.system.test_worker_faults import environment_of


def endless(http: httpx2.Client, star: bytes, seed: int) -> str:
    """Start an explanation that would take minutes."""
    return str(explain(http, star, headers={}, masks=1_000_000, until=1, seed=seed).headers["location"])


@asynccontextmanager
async def reading(valkey: str) -> AsyncIterator[EventStreams]:
    events = EventStreams(connect_async(valkey))
    try:
        yield events
    finally:
        await events.close()


def test_readers_are_woken_after_a_message_that_cannot_be_read(
    valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ValueError("no message"), ValueError("nor this")]

    async def run() -> None:
        client = connect_async(valkey)
        notifier = ChannelNotifier(client)
        read = notifier._pubsub.get_message

        async def unreadable(**options: Any) -> Any:
            if failures:
                raise failures.pop()
            return await read(**options)

        monkeypatch.setattr(notifier._pubsub, "get_message", unreadable)
        async with notifier.subscribe("channel") as notified, asyncio.timeout(30):
            while failures or not notified.is_set():
                await asyncio.to_thread(redis.publish, "channel", "x")
                await asyncio.sleep(0.05)
        await notifier.close()
        await client.aclose()

    asyncio.run(run())


def subscribers(redis: Redis, explanation_id: str) -> int:
    return int(redis.pubsub_numsub(events_key(explanation_id))[0][1])


def test_the_events_of_an_explanation_tell_its_story_and_end_with_it(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star, headers={}, masks=1500, until=1, seed=501).headers["location"]
    with opened(http, f"{here}/events") as events:
        story = list(events)
    names = [event.event for event in story]
    assert names[0] == "queued"
    assert names[-1] == "succeeded"
    assert {"running", "progress", "preview"} <= set(names)
    assert names.count("succeeded") == 1
    places = [tuple(map(int, str(event.id).split("-"))) for event in story]
    assert places == sorted(set(places))
    masks = [event.data["progress"]["masks"] for event in story if event.data["progress"]]
    assert masks == sorted(masks)
    assert http.get(here).json()["status"] == "succeeded"


def test_a_preview_leads_to_the_running_map_of_every_target(http: httpx2.Client, star: bytes) -> None:
    here = endless(http, star, 502)
    with opened(http, f"{here}/events") as events:
        preview = next(event for event in events if event.event == "preview")
        links = preview.data["targets"][0]["links"]
        assert np.load(io.BytesIO(http.get(links["npy"]).content)).ndim == 2
        assert http.get(links["overlay"]).headers["content-type"] == "image/png"
        assert http.get(here).json()["status"] == "running"
        http.post(f"{here}/cancel")
        assert [event.event for event in events][-1] == "cancelled"


def test_a_reader_that_was_cut_off_goes_on_after_the_last_event_that_it_has(http: httpx2.Client, star: bytes) -> None:
    here = endless(http, star, 503)
    with opened(http, f"{here}/events") as events:
        seen = next(event for event in events if event.event == "running")
    http.post(f"{here}/cancel")
    with opened(http, f"{here}/events", after=seen.id) as events:
        rest = list(events)
    assert rest[-1].event == "cancelled"
    assert not {"queued", "running"} & {event.event for event in rest}
    assert http.get(f"{here}/events", headers={"Last-Event-ID": str(rest[-1].id)}).status_code == 204
    for nonsense in ("yesterday", "18446744073709551616", "1-18446744073709551615"):
        assert http.get(f"{here}/events", headers={"Last-Event-ID": nonsense}).status_code == 422


def test_of_many_reports_that_are_ready_only_the_newest_is_sent(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star, masks=1500, until=1, seed=504).json()["links"]["self"]
    with opened(http, f"{here}/events") as events:
        names = [event.event for event in events]
    assert sorted(names) == ["preview", "progress", "queued", "running", "succeeded"]


def test_a_failed_explanation_ends_its_events_with_the_reason(http: httpx2.Client) -> None:
    grey = encoded(Image.new("RGB", (100, 80), (120, 120, 120)), "PNG")
    here = explain(http, grey, model="faces").json()["links"]["self"]
    with opened(http, f"{here}/events") as events:
        last = list(events)[-1]
    assert last.event == "failed"
    assert last.data["error"]["code"] == "no-target"


def test_what_is_not_there_has_no_events_but_a_problem(http: httpx2.Client) -> None:
    answer = http.get("/v1/explanations/nobody/events")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"


def test_three_hundred_open_streams_leave_room_for_everybody_else_and_are_freed_when_their_readers_go(
    service: Service, http: httpx2.Client, star: bytes
) -> None:
    first, here = endless(http, star, 505), endless(http, star, 508)
    explanation_id = here.rsplit("/", 1)[1]
    (front_end,) = [pid for pid, command in service.children().items() if "uvicorn" in command]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    with (
        Redis.from_url(environment_of(front_end)["REDIS_URL"]) as redis,
        httpx2.Client(base_url=service.url, limits=limits, timeout=60) as crowd,
        ExitStack() as streams,
    ):
        opened_streams = [streams.enter_context(opened(crowd, f"{here}/events")) for _ in range(300)]
        assert all(next(stream).event == "queued" for stream in opened_streams)
        assert subscribers(redis, explanation_id) == 1
        assert http.get(here).json()["status"] == "queued"
        assert http.get("/v1/explanations/nobody").status_code == 404
        assert http.get(here, params={"wait": 0.5}).json()["status"] == "queued"
        streams.close()
        for _ in range(600):
            if subscribers(redis, explanation_id) == 0:
                break
            time.sleep(0.05)
        assert subscribers(redis, explanation_id) == 0
    for link in (here, first):
        http.post(f"{link}/cancel")


@pytest.mark.slow
def test_a_queued_explanation_keeps_its_reader_company_with_comments(http: httpx2.Client, star: bytes) -> None:
    first, second = endless(http, star, 506), endless(http, star, 507)
    with http.stream("GET", f"{second}/events", timeout=60) as answer:
        lines = [line for line, _ in zip(answer.iter_lines(), range(5), strict=False)]
    assert lines[0] == "event: queued"
    assert lines[-1] == ": ping"
    for here in (second, first):
        http.post(f"{here}/cancel")


def test_an_open_stream_does_not_keep_the_front_end_from_stopping(tmp_path: Path, star: bytes) -> None:
    running = start_service(tmp_path / "data")
    with httpx2.Client(base_url=running.url, timeout=60) as http, ExitStack() as streams:
        events = streams.enter_context(opened(http, f"{endless(http, star, 509)}/events"))
        assert next(events).event == "queued"
        assert stop_service(running) == 0
        assert not {event.event for event in events} & {"succeeded", "failed", "cancelled"}


async def gathered(events: EventStreams, explanation_id: str) -> list[str]:
    return [change.event async for batch in events.follow(explanation_id, after="0") for change in batch]


@pytest.fixture
def store(redis: Redis) -> ExplanationStore:
    return a_store(redis)


def test_readers_hear_every_change_without_looking(
    valkey: str, store: ExplanationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.explanations.events._POLL_SECONDS", 3600.0)
    told: list[list[str]] = [[] for _ in range(50)]

    async def read(events: EventStreams, place: int) -> None:
        async for batch in events.follow("one", after="0"):
            told[place] += [change.event for change in batch]

    async def all_have_heard(event: str) -> None:
        while not all(event in heard for heard in told):
            await asyncio.sleep(0.01)

    async def story() -> None:
        async with reading(valkey) as events, asyncio.timeout(60), asyncio.TaskGroup() as readers:
            store.create(a_record())
            for place in range(50):
                readers.create_task(read(events, place))
            await all_have_heard("queued")
            assert store.start("one", "a")
            await all_have_heard("running")
            assert store.advance("one", "a", progress=PROGRESS)
            await all_have_heard("progress")
            assert publish(store, "a")

    asyncio.run(story())
    assert told == [["queued", "running", "progress", "succeeded"]] * 50


def test_a_reader_of_an_explanation_that_vanishes_is_let_go(valkey: str, redis: Redis, store: ExplanationStore) -> None:
    async def story() -> None:
        async with reading(valkey) as events, asyncio.timeout(20):
            store.create(a_record())
            reader = asyncio.create_task(gathered(events, "one"))
            await asyncio.to_thread(redis.delete, events_key("one"))
            assert await reader in ([], ["queued"])
            assert await gathered(events, "nobody") == []

    asyncio.run(story())


def test_an_explanation_that_is_asked_for_again_begins_a_new_story(valkey: str, store: ExplanationStore) -> None:
    async def story() -> None:
        async with reading(valkey) as events:
            store.create(a_record())
            store.cancel("one")
            assert await gathered(events, "one") == ["queued", "cancelled"]
            before = await events.last_event_id("one")
            store.create(a_record())
            assert [change.event for change in await events.read_after("one", "0")] == ["queued"]
            assert await events.last_event_id("one") > before

    asyncio.run(story())


def test_readers_go_on_after_the_connection_that_they_listen_on_was_lost(
    valkey: str, redis: Redis, store: ExplanationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.explanations.events._POLL_SECONDS", 3600.0)

    async def story() -> None:
        async with reading(valkey) as events, asyncio.timeout(60):
            store.create(a_record())
            reader = asyncio.create_task(gathered(events, "one"))
            while subscribers(redis, "one") == 0:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(redis.client_kill_filter, _type="pubsub")
            await asyncio.to_thread(store.cancel, "one")
            assert (await reader)[-1] == "cancelled"

    asyncio.run(story())


def test_closing_lets_readers_go(valkey: str, store: ExplanationStore) -> None:
    async def story() -> None:
        store.create(a_record())
        async with reading(valkey) as events:
            reader = asyncio.create_task(gathered(events, "one"))
            await asyncio.sleep(0)
            await events.last_event_id("one")
        await asyncio.gather(reader, return_exceptions=True)
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    asyncio.run(story())
