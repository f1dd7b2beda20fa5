"""Composition root of the front end: settings -> services -> routes. Nothing else."""

import gc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from types import ModuleType

from fastapi import APIRouter, FastAPI

from app.admission import Admission
from app.batches.filling import Filler
from app.catalogue import CatalogueReader
from app.contract.announcements import announcements
from app.contract.arrivals import Arrivals
from app.contract.backlog import Backlogs
from app.contract.batches import Batches
from app.contract.blobs import Blobs
from app.contract.callbacks import Callbacks
from app.contract.connection import connect, connect_async
from app.contract.events import Events
from app.contract.expiry import Expiry
from app.contract.idempotency import IdempotencyKeys
from app.contract.keys import Keys
from app.contract.leases import Leases
from app.contract.limits import Pending, RequestRates
from app.contract.listing import Listing
from app.contract.logs import configure_logs
from app.contract.pace import Pace
from app.contract.queue import Jobs
from app.contract.settings import Settings
from app.contract.statistics import Statistics
from app.contract.store import Store
from app.contract.stored import read_stored
from app.contract.tracing import configure_tracing
from app.contract.uploads import UploadRegister
from app.dependencies import Services
from app.gathering import Gathering
from app.heads import Heads
from app.intake import Intake
from app.integrations import integrations
from app.leaving import when_asked_to_leave
from app.maintenance.garbage_collector import GarbageCollector
from app.maintenance.periodic import PeriodicTask, running
from app.maintenance.requeue import SILENT_HEARTBEATS, OrphanRequeuer, OrphanScanner
from app.maintenance.served_models import ServedModels
from app.outbound.guard import guarded_client
from app.outbound.hosts import read_permissions
from app.outbound.pictures import Pictures
from app.polls import Polls
from app.problems import BodyLimit, Refuse, install, problem
from app.rate import RateLimitFields
from app.requests import Requests
from app.routes import (
    batches,
    callbacks,
    catalogue,
    document,
    events,
    explanations,
    health,
    images,
    listing,
    maps,
    metrics,
    monitoring,
)
from app.shortcuts import Shortcut, Shortcuts
from app.slow_bodies import SlowBodies
from app.submission import Submission
from app.uploads import Uploads

ROUTES: tuple[ModuleType, ...] = (explanations, listing, events, callbacks, images, batches, maps, metrics)
ROUTES += (catalogue, health, monitoring, document)
_ROOM_FOR_JSON = 1.4  # base64 needs four bytes for three, and there are other fields
_ROOM_FOR_FIELDS = 1_000_000


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the front end."""
    settings = settings or Settings()
    routers = [module.router for module in (*ROUTES, *integrations(settings))]
    return front_end(settings, routers, shortcuts=explanations.SHORTCUTS)


def front_end(
    settings: Settings, routers: Iterable[APIRouter], *, refuse: Refuse = problem, shortcuts: Iterable[Shortcut] = ()
) -> FastAPI:
    """Return a front end with some routes; `refuse` answers bodies that are too large for any of them."""
    configure_logs(settings.log_format, settings.log_level)
    traced = configure_tracing("rise-serve-app")
    limit = int(settings.max_image_bytes * _ROOM_FOR_JSON) + _ROOM_FOR_FIELDS
    limits_of_many = dict.fromkeys(["/v1/images", "/v1/batches"], max(limit, settings.max_batch_bytes))
    app = FastAPI(
        title="rise-serve",
        summary="Why did the model say so? Saliency maps for any image model, with error bars.",
        version=version("rise-serve"),
        lifespan=_lifespan,
        webhooks=callbacks.webhooks,
        openapi_url=None,  # because app/routes/document.py answers, with the methods of live workers
    )
    app.add_middleware(BodyLimit, max_body_size=limit, elsewhere=limits_of_many, refuse=refuse)
    if not traced:  # because it is FastAPI that names spans after routes
        app.add_middleware(Shortcuts, shortcuts=shortcuts)
    app.add_middleware(SlowBodies, seconds=settings.body_seconds)
    if settings.keys == "on":
        app.add_middleware(RateLimitFields)
    app.add_middleware(Heads)
    app.add_middleware(Requests)
    app.state.services = _services(settings)
    install(app)
    for router in routers:
        app.include_router(router)
    return app


def _services(settings: Settings) -> Services:
    redis = connect(settings.redis_url)
    store = Store(redis, keep_seconds=settings.keep_seconds)
    blobs = Blobs(settings.storage_url, seconds=settings.storage_seconds)
    jobs = Jobs(redis, timeout_seconds=settings.job_timeout_seconds)
    on_loop = connect_async(settings.redis_url)
    intake = Intake(settings)
    pace = Pace(redis)
    admission = Admission(settings, Backlogs(redis, pace), Pending(redis))
    stored = Gathering(partial(read_stored, on_loop))
    arrivals = Arrivals(on_loop, store, jobs)
    return Services(
        settings=settings,
        store=store,
        listing=Listing(redis, store),
        expiry=Expiry(redis),
        leases=Leases(redis),
        blobs=blobs,
        jobs=jobs,
        pace=pace,
        statistics=Statistics(redis),
        events=Events(on_loop),
        polls=Polls(stored),
        keys=Keys(redis),
        catalogue=CatalogueReader(partial(announcements, redis)),
        idempotency=IdempotencyKeys(redis),
        admission=admission,
        rates=RequestRates(redis),
        intake=intake,
        submission=Submission(intake, stored, blobs, jobs, arrivals, admission, keep_seconds=settings.keep_seconds),
        orphans=OrphanScanner(redis, keep_seconds=settings.keep_seconds),
        served=ServedModels(redis, ttl_seconds=settings.queue_ttl_seconds),
        pictures=_pictures(settings),
        uploads=Uploads(intake, UploadRegister(redis, keep_seconds=settings.keep_seconds), blobs),
        batches=Batches(redis, keep_seconds=settings.keep_seconds),
        callbacks=Callbacks(redis, keep_seconds=settings.keep_seconds),
    )


def _pictures(settings: Settings) -> Pictures:
    hosts = read_permissions(settings)
    client = guarded_client(hosts, seconds=settings.fetch_seconds)
    return Pictures(client, hosts, settings.max_image_bytes, settings.fetch_seconds)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with running(*_background_tasks(services)):
        _keep_for_good()
        with when_asked_to_leave(services.events.release):
            yield
    await services.events.close()
    await services.pictures.client.aclose()


def _keep_for_good() -> None:
    """Look for garbage among what is made from now on: to go through all there is stops everything for 90 ms."""
    gc.collect()
    gc.freeze()


def _background_tasks(services: Services) -> list[PeriodicTask]:
    settings, leases = services.settings, services.leases
    collector = GarbageCollector(services.expiry, services.blobs, keep_seconds=settings.keep_seconds)
    requeuer = OrphanRequeuer(
        services.orphans,
        services.store,
        services.jobs,
        services.pace,
        services.catalogue,
        services.served,
        keep_seconds=settings.keep_seconds,
        silent_seconds=SILENT_HEARTBEATS * settings.heartbeat_seconds,
    )
    return [
        *collector.tasks(leases, interval_seconds=settings.sweep_seconds),
        requeuer.task(leases, interval_seconds=settings.sweep_seconds),
        Filler(services).task(),
    ]
