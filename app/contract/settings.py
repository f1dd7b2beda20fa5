"""Settings: environment variables with the prefix `RISE_`, read once in a composition root and passed on."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.contract.log_context import LogFormat, LogLevel
from app.contract.schemas import Identifier

_SERVICE_URL = r"^(https?://[^/@?#\s]+(/[^?#\s]*)?)?$"
_ORIGIN = r"[a-z][a-z0-9+.-]*://[^/,*?#@\s]+"
WEBHOOK_GIVE_UP_SECONDS = 86_400  # after the end of the explanation


def user_data_folder() -> Path:
    """Return the folder for this user's data, by the XDG convention."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rise-serve"


def shipped_models_file() -> Path:
    """Return the models file of the bundled models, which is installed beside this package."""
    return Path(__file__).resolve().parents[2] / "workers" / "demo" / "models.toml"


class Settings(BaseSettings):
    """Everything an operator can set. Each field is an environment variable: `port` is `RISE_PORT`."""

    model_config = SettingsConfigDict(env_prefix="RISE_", frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address that the front end listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the front end listens on.")
    keys: Literal["on", "off"] | None = Field(
        None, description="Whether requests need an API key; unset: no, and only this machine is served."
    )
    data: Path = Field(default_factory=user_data_folder, description="Folder for the embedded server and local blobs.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("RISE_REDIS_URL", "REDIS_URL"),
        description="Redis or Valkey server: `redis://`, `rediss://`, `unix://`, or `redis+sentinel://`.",
    )
    storage: str | None = Field(
        None, description="URL of the object store, such as `s3://bucket/folder`; None keeps blobs below `data`."
    )
    storage_seconds: float = Field(
        10.0, gt=0, description="Longest time of one request to the object store; failed ones are repeated for as long."
    )
    outage_seconds: float = Field(
        600.0, ge=0, description="How long workers wait for a server or an object store that is away or full."
    )
    models: Path = Field(default_factory=shipped_models_file, description="The models file.")
    queue: str = Field("default", pattern=r"^[A-Za-z0-9_-]+$", description="The one queue that a worker listens to.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes that `rise-serve up` starts.")
    keep_seconds: int = Field(86_400, ge=1, description="How long an explanation is kept after its last change.")
    sweep_seconds: float = Field(60.0, gt=0, description="Time between two rounds of removing what has expired.")
    max_image_bytes: int = Field(20_000_000, ge=1, description="Largest upload.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image, width times height.")
    max_batch_bytes: int = Field(500_000_000, ge=1, description="Largest upload of many images, packed and unpacked.")
    max_batch_images: int = Field(1000, ge=1, description="Most images of one batch.")
    body_seconds: float = Field(
        60.0, gt=0, description="Longest time between two pieces of a request's body; then it is answered by 408."
    )
    max_wait_seconds: float = Field(60.0, ge=0, description="Longest time that a request is held.")
    max_queued: int = Field(1000, ge=1, description="Explanations that may wait on one queue; more are refused.")
    max_queued_seconds: float = Field(
        86_400, gt=0, description="Estimated work that may wait for each worker; more is refused."
    )
    queue_ttl_seconds: float = Field(
        86_400,
        gt=0,
        description="How long accepted work waits for a model that no worker serves any more; then it fails with "
        "`no-worker`.",
    )
    job_timeout_seconds: int = Field(3600, ge=1, description="Longest time that one explanation may run.")
    stall_seconds: float = Field(
        300.0,
        gt=0,
        description="Longest time that a model may take for one batch of masked images; then its worker is replaced.",
    )
    heartbeat_seconds: float = Field(5.0, gt=0, description="A worker is lost after four heartbeats without a sign.")
    share_seconds: float = Field(
        3.0, ge=0, description="An explanation that takes longer than this is shared with workers that are idle."
    )
    checkpoint_seconds: float = Field(1.0, ge=0, description="Longest time between two checkpoints.")
    log_level: LogLevel = Field(
        "info",
        description="Least severe log lines to write; `rise-serve up` writes warnings and errors unless it is set.",
    )
    log_format: LogFormat = Field("text", description="Log lines as text for people, or as JSON for machines.")
    allowed_hosts: str = Field(
        "", description="Hosts that images may be fetched from and callbacks sent to: `example.com, *.example.org`."
    )
    trusted_hosts: str = Field(
        "",
        description="Hosts that may also be reached over http and at inside addresses, without the guard's check of "
        "their address: `receiver.internal:8080`. Whoever may name an address reaches every path on them.",
    )
    allowed_origins: str = Field(
        "",
        pattern=rf"^({_ORIGIN}(\s*,\s*{_ORIGIN})*|\*)?$",
        description="Origins whose pages may call the service from a browser (CORS), with commas between: "
        "`https://labels.example.com`; `*` for any, without cookies.",
    )
    frame_ancestors: str = Field(
        "",
        pattern=r"^[A-Za-z0-9:/.*\[\]', -]*$",
        description="Origins whose pages may show `/ui/embed/{id}` in a frame: `https://labels.example.org`; several "
        "with spaces between. The page at `/` is never shown in one.",
    )
    fetch_seconds: float = Field(10.0, gt=0, description="Longest time that fetching an image by URL may take.")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs callbacks: text, or base64 after `whsec_`; several with commas between."
    )
    callback_pause_seconds: float = Field(5.0, gt=0, description="Pause after the first failed callback; it doubles.")
    callback_give_up_seconds: float = Field(
        WEBHOOK_GIVE_UP_SECONDS,
        ge=0,
        le=WEBHOOK_GIVE_UP_SECONDS,
        description="When a callback that fails is not tried any more.",
    )
    kserve: bool = Field(False, description="Answer at `/integrations/kserve` as an explainer of KServe does.")
    cvat: bool = Field(False, description="Answer at `/api/functions` as the Nuclio of a CVAT server does.")
    cvat_parameters: dict[str, Any] = Field(
        default_factory=dict, description='Of every explanation for CVAT, as JSON: `{"masks": 1000}`.'
    )
    public_url: str = Field(
        "",
        pattern=_SERVICE_URL,
        description="Where clients find the service, with the path below which a proxy shows it: "
        "`https://example.com/rise`. Makes the links in callbacks absolute.",
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies whose `X-Forwarded-Proto`, `-Host` and `-Prefix` are believed: addresses or networks with "
        "commas between, `10.0.0.0/8`; `*` for whoever connects.",
    )
    label_studio_url: str = Field(
        "",
        pattern=_SERVICE_URL,
        description="Where Label Studio is, as seen from here; set, it switches the ML backend for it on.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""), description="A user's access token of Label Studio: personal, or of the legacy kind."
    )
    label_studio_model: Identifier | None = Field(
        None, description="Model of projects that are connected without one in the backend's address."
    )
    label_studio_parameters: dict[str, Any] = Field(
        default_factory=dict, description='Of every explanation for Label Studio, as JSON: `{"masks": 1000}`.'
    )
    label_studio_labels: dict[str, str] = Field(
        default_factory=dict,
        description='The label of projects for a class of models, as JSON, where their names differ: `{"n02084071": '
        '"dog"}`.',
    )
    label_studio_tenants: str = Field(
        "",
        description="With keys on, the tenants whose keys may be given to Label Studio, with commas between: they see "
        "every image that its access token can see.",
    )
    device: str = Field("auto", description="Where workers compute: auto, cpu, cuda, cuda:1, ...")

    @field_validator("trusted_proxies")
    @classmethod
    def _names_addresses(cls, given: str) -> str:
        """Refuse what would match nobody: host names, and networks with bits beyond their mask."""
        for entry in given.split(",") if given not in {"", "*"} else ():
            ip_network(entry.strip())
        return given

    @property
    def storage_url(self) -> str:
        """The object store's URL, with the local folder filled in."""
        return self.storage or (self.data.expanduser().absolute() / "blobs").as_uri()
