"""Composition root of the front end: settings -> services -> routes. Nothing else."""

import gc
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from types import ModuleType

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES

from app.admission.backlog import BacklogReader
from app.admission.controller import AdmissionController
from app.admission.limits import ConcurrencyQuota, TokenBucket
from app.api.graceful_shutdown import on_shutdown_signal
from app.api.middleware.access_log import AccessLogMiddleware
from app.api.middleware.body_timeout import BodyTimeoutMiddleware
from app.api.middleware.content_encoding import ContentEncodingMiddleware
from app.api.middleware.cors import cors_policy
from app.api.middleware.entity_tags import WeakEntityTagMiddleware
from app.api.middleware.head_method import HeadMethodMiddleware
from app.api.middleware.public_address import PublicAddressMiddleware
from app.api.middleware.rate_limit import RateLimitHeadersMiddleware
from app.api.problems import BodyLimitMiddleware, Refuse, install_error_handlers, problem_response
from app.api.routes import (
    audits,
    batches,
    evaluation,
    events,
    explanations,
    health,
    images,
    listing,
    maps,
    models,
    openapi,
    prometheus,
    reports,
    surveys,
    webhooks,
)
from app.auth.api_keys import ApiKeyStore
from app.batches.store import BatchStore
from app.batches.submitter import BatchSubmitter
from app.contract.counters import PersistentCounters
from app.contract.explanations.store import ExplanationStore
from app.contract.explanations.webhook_subscriptions import WebhookSubscriptions
from app.contract.log_context import configure_logs
from app.contract.queue.jobs import JobQueue
from app.contract.queue.throughput import ThroughputStats
from app.contract.redis.client import connect, connect_async
from app.contract.redis.leases import Leases
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.contract.tracing import configure_tracing
from app.contract.worker_registry import announcements
from app.egress.allowlist import read_permissions
from app.egress.client import ssrf_safe_client
from app.explanations.catalogue import CatalogueReader
from app.explanations.enqueue import ExplanationCreator
from app.explanations.events import EventStreams
from app.explanations.expiry_index import ExpiryIndex
from app.explanations.idempotency_keys import IdempotencyKeys
from app.explanations.listing import Listing
from app.explanations.service import ExplanationService
from app.images.fetcher import ImageFetcher
from app.images.resolver import ImageSourceResolver
from app.images.upload_register import UploadRegister
from app.images.uploads import Uploads
from app.images.validation import ImageValidator
from app.integrations import integrations
from app.maintenance.garbage_collector import GarbageCollector
from app.maintenance.last_served import ServedModels
from app.maintenance.periodic import PeriodicTask, running
from app.maintenance.requeue import SILENT_HEARTBEATS, OrphanRequeuer, OrphanScanner
from app.maintenance.unserved_models import ModelHistory
from app.rendering.renderer import Renderer
from app.services import Services
from app.web import routes as web

ROUTES: tuple[ModuleType, ...] = (explanations, listing, events, audits, webhooks, images, batches, maps, reports)
ROUTES += (evaluation, surveys, models, health, prometheus, openapi, web)
_ROOM_FOR_JSON = 1.4  # base64 needs four bytes for three, and there are other fields
_ROOM_FOR_FIELDS = 1_000_000
_COMPRESSION_LEVEL = 5
_NOT_COMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-npy", "application/x-npz")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the front end."""
    settings = settings or Settings()
    routers = [module.router for module in (*ROUTES, *integrations(settings))]
    return front_end(settings, routers)


def front_end(settings: Settings, routers: Iterable[APIRouter], *, refuse: Refuse = problem_response) -> FastAPI:
    """Return a front end with some routes; `refuse` answers bodies that are too large for any of them."""
    configure_logs(settings.log_format, settings.log_level)
    configure_tracing("rise-serve-app")
    limit = int(settings.max_image_bytes * _ROOM_FOR_JSON) + _ROOM_FOR_FIELDS
    limits_of_many = dict.fromkeys(["/v1/images", "/v1/batches"], max(limit, settings.max_batch_bytes))
    app = FastAPI(
        title="rise-serve",
        summary="Why did the model say so? Saliency maps for any image model, with error bars.",
        version=version("rise-serve"),
        lifespan=_lifespan,
        webhooks=webhooks.webhooks,
        openapi_url=None,  # because app/api/routes/openapi.py answers, with the methods of live workers
    )
    app.add_middleware(BodyLimitMiddleware, max_body_size=limit, elsewhere=limits_of_many, refuse=refuse)
    app.add_middleware(ContentEncodingMiddleware, refuse=refuse)
    app.add_middleware(BodyTimeoutMiddleware, seconds=settings.body_seconds)
    if settings.keys == "on":
        app.add_middleware(RateLimitHeadersMiddleware)
    app.add_middleware(GZipMiddleware, compresslevel=_COMPRESSION_LEVEL, exclude_content_types=_NOT_COMPRESSED)
    app.add_middleware(WeakEntityTagMiddleware)
    app.add_middleware(HeadMethodMiddleware)
    app.add_middleware(AccessLogMiddleware, not_idempotent=("/v1/batches", "/v1/images"))
    if settings.allowed_origins:
        app.add_middleware(CORSMiddleware, **cors_policy(settings.allowed_origins))
    app.add_middleware(PublicAddressMiddleware, settings.public_url, settings.trusted_proxies)
    app.state.services = _services(settings)
    install_error_handlers(app)
    for router in routers:
        app.include_router(router)
    return app


def _services(settings: Settings) -> Services:
    redis = connect(settings.redis_url)
    store = ExplanationStore(redis, keep_seconds=settings.keep_seconds)
    blobs = BlobStore(settings.storage_url, seconds=settings.storage_seconds)
    jobs = JobQueue(redis, timeout_seconds=settings.job_timeout_seconds)
    validator = ImageValidator(settings)
    throughput = ThroughputStats(redis)
    admission = AdmissionController(settings, BacklogReader(redis, throughput), ConcurrencyQuota(redis))
    async_redis = connect_async(settings.redis_url)
    events = EventStreams(async_redis)
    image_fetcher = _image_fetcher(settings)
    uploads = Uploads(UploadRegister(redis, keep_seconds=settings.keep_seconds), blobs)
    images = ImageSourceResolver(image_fetcher, uploads)
    callbacks = WebhookSubscriptions(redis, keep_seconds=settings.keep_seconds)
    return Services(
        settings=settings,
        store=store,
        listing=Listing(redis, store),
        expiry=ExpiryIndex(redis),
        leases=Leases(redis),
        blobs=blobs,
        renderer=Renderer(blobs),
        jobs=jobs,
        throughput=throughput,
        statistics=PersistentCounters(redis),
        events=events,
        keys=ApiKeyStore(redis),
        catalogue=CatalogueReader(partial(announcements, redis)),
        idempotency=IdempotencyKeys(redis),
        admission=admission,
        rate_limiter=TokenBucket(redis),
        validator=validator,
        explanations=ExplanationService(
            images=images,
            validator=validator,
            store=store,
            async_redis=async_redis,
            blobs=blobs,
            jobs=jobs,
            creator=ExplanationCreator(redis, store, jobs),
            admission=admission,
            throughput=throughput,
            events=events,
            subscriptions=callbacks,
            keep_seconds=settings.keep_seconds,
        ),
        orphans=OrphanScanner(redis, keep_seconds=settings.keep_seconds),
        served_models=ServedModels(redis, ttl_seconds=settings.queue_ttl_seconds),
        image_fetcher=image_fetcher,
        uploads=uploads,
        images=images,
        batches=BatchStore(redis, keep_seconds=settings.keep_seconds),
        webhook_subscriptions=callbacks,
    )


def _image_fetcher(settings: Settings) -> ImageFetcher:
    hosts = read_permissions(settings)
    client = ssrf_safe_client(hosts, seconds=settings.fetch_seconds)
    return ImageFetcher(client, hosts, settings.max_image_bytes, settings.fetch_seconds)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with running(*_background_tasks(services)):
        _keep_for_good()
        with on_shutdown_signal(services.events.shutdown):
            yield
    services.renderer.close()
    services.validator.close()
    await services.events.close()
    await services.image_fetcher.client.aclose()


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
        services.throughput,
        services.catalogue,
        services.served_models,
        keep_seconds=settings.keep_seconds,
        silent_seconds=SILENT_HEARTBEATS * settings.heartbeat_seconds,
    )
    history = ModelHistory(services.served_models, services.statistics, services.throughput)
    return [
        *collector.tasks(leases, interval_seconds=settings.sweep_seconds),
        requeuer.task(leases, interval_seconds=settings.sweep_seconds),
        history.task(leases, interval_seconds=settings.sweep_seconds),
        BatchSubmitter(
            settings,
            services.batches,
            services.blobs,
            services.store,
            services.catalogue,
            services.served_models,
            services.explanations,
            services.remover,
            services.leases,
            services.surveys,
        ).task(),
    ]
