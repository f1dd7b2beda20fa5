"""Upload images once, and name them by their ids in many requests."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.dependencies import Explainer, Reader, ServicesDep
from app.api.image_source import read_source
from app.api.openapi_components import IMAGES_BODY, PROBLEMS
from app.api.request_body import media_type_of, read_json, sent_parts, unsupported
from app.auth.principal import Principal
from app.contract.errors import FieldError, RiseError, StorageError, invalid_field, unknown_choice
from app.contract.schemas import StoredModel
from app.explanations.root_path import root_path
from app.images.source import ImageSource
from app.images.upload_register import Upload
from app.services import Services

router = APIRouter(prefix="/v1/images", tags=["images"], responses=PROBLEMS)

_MOST = 100


class ImageView(StoredModel):
    """An image that can be named by its id."""

    id: str = Field(description='Name it in a request: `"image": {"id": "..."}`, or the form field `image_id`.')
    width: int = Field(description="Upright.")
    height: int = Field(description="Upright.")
    sha256: str = Field(description="Of the uploaded bytes.")
    media_type: str
    size: int = Field(description="In bytes.")
    created_at: datetime
    expires_at: datetime = Field(description="Put off whenever the image is uploaded again or named in a request.")
    links: dict[str, str]


class ImageList(StoredModel):
    """Uploaded images, in the order in which they came."""

    images: list[ImageView]


@router.post("", status_code=201, operation_id="uploadImages", openapi_extra=IMAGES_BODY)
async def upload(request: Request, services: ServicesDep, caller: Explainer) -> ImageList:
    """Upload images, as files or by their addresses; the same image has the same id, however often it comes.

    Where one of them is refused, the request is; those before it are kept.
    """
    media_type = media_type_of(request)
    if media_type == "multipart/form-data":
        async with request.form(max_files=_MOST, max_fields=_MOST) as form:
            files = sent_parts(form)
            if not files:
                raise invalid_field("/image", "send at least one file")
            contents = [_file(name, file) for name, file in files]
            places = [f"/image/{place}" for place in range(len(files))] if len(files) > 1 else ["/image"]
            return ImageList(
                images=[
                    await _keep(services, caller, await file.read(), place, file.filename)
                    for place, file in zip(places, contents, strict=True)
                ]
            )
    if media_type == "application/json":
        sources = await run_in_threadpool(_sources, await read_json(request))
        return ImageList(images=[await _keep(services, caller, source, field) for field, source in sources.items()])
    raise unsupported(media_type)


def _sources(fields: dict[str, Any]) -> dict[str, ImageSource]:
    unknown = next((name for name in fields if name not in {"image", "images"}), None)
    if unknown is not None:
        raise unknown_choice(f"/{unknown}", unknown, ["image", "images"])
    if list(fields) == ["image"]:
        return {"/image": read_source(fields["image"])}
    many = fields.get("images")
    if "image" in fields or not isinstance(many, list) or not 1 <= len(many) <= _MOST:
        raise invalid_field("/images", f"send one image, or a list of 1 to {_MOST} images")
    named = {f"/images/{place}": given for place, given in enumerate(many)}
    return {field: read_source(given, field=field) for field, given in named.items()}


def _file(name: str, file: UploadFile | str) -> UploadFile:
    if name != "image" or not isinstance(file, UploadFile):
        raise invalid_field(f"/{name}", "send files, each as image")
    return file


async def _keep(
    services: Services, caller: Principal, source: ImageSource, field: str, filename: str | None = None
) -> ImageView:
    content = await services.images.content(caller.tenant, source)
    try:
        image = await services.validator.validate(content)
        return view_of(await run_in_threadpool(services.uploads.keep, caller.tenant, image))
    except StorageError:  # because that is not the field's fault
        raise
    except RiseError as error:
        named = f" ({filename})" if filename else ""
        detail = f"{field.lstrip('/')}{named}: {error.detail}"
        raise error.reworded(detail, errors=[FieldError(field, error.detail)]) from error


def view_of(upload: Upload) -> ImageView:
    """Return what a client sees of an image."""
    return ImageView(
        id=upload.id,
        width=upload.image.width,
        height=upload.image.height,
        sha256=upload.image.sha256,
        media_type=upload.image.media_type,
        size=upload.size,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        links={"self": f"{root_path()}/v1/images/{upload.id}"},
    )


@router.get("/{image_id}", operation_id="getUploadedImage")
def read(image_id: str, services: ServicesDep, caller: Reader) -> ImageView:
    """Return what is known of an image that was uploaded: its size, its type, when it expires."""
    return view_of(services.uploads.find(caller.tenant, image_id))


@router.delete("/{image_id}", status_code=204, operation_id="deleteUploadedImage")
def delete(image_id: str, services: ServicesDep, caller: Explainer) -> None:
    """Remove an image; explanations of it stay."""
    services.uploads.remove(caller.tenant, image_id)
