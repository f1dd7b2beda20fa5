"""The background tasks of the front end go on whatever one of their runs meets: a real application, a real Valkey."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from app.batches.store import BatchItem, BatchStore
from app.contract.redis.keys import DUE, record_key
from app.contract.schemas import Announcement, ModelCard
from app.contract.settings import Settings
from app.contract.worker_registry import announce
from app.integrations.label_studio.delayed_tasks import DelayedTasks
from app.main import create_app
from tests.app.batches.test_batches import a_batch
from tests.app.maintenance.test_periodic import failures
from tests.contract.test_store import a_record, a_store
from tests.contract.test_stored_values import ERRAND
from tests.support.fake_label_studio import FakeStudio, fake_studio

BROKEN = "broken"
HEARTBEAT_SECONDS = 0.02


def settings(valkey: str, folder: Path, **more: Any) -> Settings:
    quick = {"sweep_seconds": 0.1, "heartbeat_seconds": HEARTBEAT_SECONDS, "keep_seconds": 3600}
    return Settings(redis_url=valkey, data=folder, **{**quick, **more})


def serve_model(redis: Redis) -> None:
    cards = [ModelCard(id="m", task="classification", digest="d", state="ready")]
    worker = Announcement(worker="w", queue="q", version="0", device="cpu", models=cards, methods=[], fills=[])
    announce(redis, worker, seconds=600)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.05)


def test_orphans_are_requeued_after_a_run_that_failed(valkey: str, redis: Redis, tmp_path: Path) -> None:
    before = failures("requeue_orphans")

    async def run() -> None:
        app = create_app(settings(valkey, tmp_path))
        async with app.router.lifespan_context(app):
            await until(lambda: failures("requeue_orphans") > before)
            redis.delete(record_key(BROKEN))
            await until(lambda: redis.lrange("rq:queue:q", 0, -1) == [b"one"])

    serve_model(redis)
    redis.hset(record_key(BROKEN), mapping={"status": '"queued"', "expires_at": "no JSON"})
    redis.zadd(DUE, {BROKEN: 0})
    a_store(redis).create(a_record())
    asyncio.run(run())


def test_blobs_are_swept_after_a_run_that_failed(valkey: str, redis: Redis, tmp_path: Path) -> None:
    before = failures("sweep_due_blobs")

    async def run() -> None:
        app = create_app(settings(valkey, tmp_path))
        async with app.router.lifespan_context(app):
            await until(lambda: failures("sweep_due_blobs") > before)
            redis.delete(DUE)
            redis.zadd(DUE, {"gone": 1})
            await until(lambda: not redis.exists(DUE))

    redis.zadd(DUE, {b"\xff": 1})  # which is no text
    asyncio.run(run())


def test_batches_are_submitted_after_a_run_that_failed(valkey: str, redis: Redis, tmp_path: Path) -> None:
    before = failures("submit_batches")

    async def run() -> None:
        app = create_app(settings(valkey, tmp_path))
        async with app.router.lifespan_context(app):
            await until(lambda: failures("submit_batches") > before)
            redis.zrem("rise:batches", b"\xff")
            batches.create(batch, [BatchItem(index=0, name="0", kind="id", source="nobody has uploaded it")])
            await until(lambda: not redis.exists("rise:batches"))

    redis.zadd("rise:batches", {b"\xff": 0})  # which is no text
    redis.set(b"rise:batch:\xff", "{}")
    batches = BatchStore(redis, keep_seconds=600)
    batch, _ = a_batch(total=1)
    serve_model(redis)
    asyncio.run(run())


def test_images_of_a_batch_whose_model_is_gone_are_given_up_after_a_deadline(
    valkey: str, redis: Redis, tmp_path: Path
) -> None:
    batches = BatchStore(redis, keep_seconds=600)
    batch, members = a_batch()

    def errors() -> list[str | None]:
        return [member.error.code if member.error else None for member in batches.members(batch.id, range(batch.total))]

    async def run() -> None:
        app = create_app(settings(valkey, tmp_path, queue_ttl_seconds=1))
        async with app.router.lifespan_context(app):
            await until(lambda: not redis.exists("rise:batches"))
        assert errors() == ["no-worker"] * batch.total

    batches.create(batch, members)
    asyncio.run(run())


def test_a_prediction_for_label_studio_whose_model_is_gone_is_given_up_after_a_deadline(
    valkey: str, redis: Redis, tmp_path: Path
) -> None:
    tasks = DelayedTasks(redis, "label-studio")
    errand = ERRAND.model_copy(update={"address": "/data/upload/1/star.jpg", "explanation": None})

    async def run(studio: FakeStudio) -> None:
        more = {"label_studio_url": studio.url, "label_studio_api_key": "x", "queue_ttl_seconds": 1}
        app = create_app(settings(valkey, tmp_path, **more))
        async with app.router.lifespan_context(app):
            await until(lambda: not len(tasks))

    tasks.schedule(errand.delayed(), seconds=0)
    with fake_studio() as studio:
        asyncio.run(run(studio))
