"""The services of a front-end process: built once by the composition root, used by routes and integrations."""

from dataclasses import dataclass
from functools import cached_property

from app.admission.controller import AdmissionController
from app.admission.limits import TokenBucket
from app.auth.api_keys import ApiKeyStore
from app.batches.store import BatchStore
from app.batches.surveys import Surveys
from app.contract.counters import PersistentCounters
from app.contract.explanations.store import ExplanationStore
from app.contract.explanations.webhook_subscriptions import WebhookSubscriptions
from app.contract.queue.jobs import JobQueue
from app.contract.queue.throughput import ThroughputStats
from app.contract.redis.leases import Leases
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.explanations.catalogue import CatalogueReader
from app.explanations.commands import CommandReader
from app.explanations.events import EventStreams
from app.explanations.expiry_index import ExpiryIndex
from app.explanations.idempotency_keys import IdempotencyKeys
from app.explanations.listing import Listing
from app.explanations.predictions import Predictor
from app.explanations.removal import ExplanationRemover
from app.explanations.service import ExplanationService
from app.explanations.worker_calls import WorkerCalls
from app.images.fetcher import ImageFetcher
from app.images.resolver import ImageSourceResolver
from app.images.uploads import Uploads
from app.images.validation import ImageValidator
from app.maintenance.last_served import ServedModels
from app.maintenance.requeue import OrphanScanner
from app.rendering.renderer import Renderer


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    store: ExplanationStore
    listing: Listing
    expiry: ExpiryIndex
    leases: Leases
    blobs: BlobStore
    renderer: Renderer
    jobs: JobQueue
    throughput: ThroughputStats
    statistics: PersistentCounters
    events: EventStreams
    keys: ApiKeyStore
    idempotency: IdempotencyKeys
    rate_limiter: TokenBucket
    admission: AdmissionController
    catalogue: CatalogueReader
    validator: ImageValidator
    orphans: OrphanScanner
    served_models: ServedModels
    explanations: ExplanationService
    image_fetcher: ImageFetcher
    webhook_subscriptions: WebhookSubscriptions
    uploads: Uploads
    images: ImageSourceResolver
    batches: BatchStore

    @cached_property
    def worker_calls(self) -> WorkerCalls:
        """What asks workers while a client waits."""
        return WorkerCalls(self.jobs)

    @cached_property
    def commands(self) -> CommandReader:
        """What reads the fields of a request."""
        signs_callbacks = bool(self.settings.webhook_secret.get_secret_value())
        return CommandReader(self.catalogue, self.image_fetcher.hosts, signs_callbacks)

    @cached_property
    def remover(self) -> ExplanationRemover:
        """What cancels and deletes explanations."""
        return ExplanationRemover(self.store, self.blobs, self.jobs, self.expiry)

    @cached_property
    def surveys(self) -> Surveys:
        """What surveys annotated batches."""
        return Surveys(self.batches, self.blobs, self.jobs, self.catalogue)

    @cached_property
    def predictor(self) -> Predictor:
        """What asks a worker for predictions."""
        return Predictor(self.worker_calls, self.catalogue, self.images, self.blobs, self.validator)
