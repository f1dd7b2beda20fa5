"""COCO annotations of a batch: read, checked, joined to its images by file name and to the model's labels by name.

They are not trusted. Bytes and values are limited before they are parsed; an entry that cannot be used is an error with
a JSON pointer, and stops no other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, get_args

from pydantic_core import from_json

from app.batches.coco_entries import InvalidEntryError, area, read_identity, read_object, read_size
from app.batches.store import AnnotationSummary, BatchItem, EntryError
from app.contract.errors import FieldError, RiseError, invalid_field
from app.contract.schemas import CanonicalRequest, JsonObject
from app.contract.storage.object_store import BlobStore, annotations_blob
from app.contract.survey import CHUNK, AnnotatedObject, AnnotationChunk, Explained, ImageAnnotation

MOST_BYTES = 32_000_000  # COCO's own annotations of 5,000 images have 20 MB
MOST_VALUES = 5_000_000  # they have 2.2 million
_MOST_LISTED = 100  # errors
_MOST_OBJECTS = 200  # of one image
_MOST_TARGETS = 20  # of one image
_FIELD = "/annotations"
_OF_OBJECTS = "drise"
_METHODS = ("rise", _OF_OBJECTS)

CategoryTable = Mapping[str, int | str]


@dataclass(frozen=True)
class SurveyOptions:
    """The fields of a request that go with its annotations.

    Attributes:
        explain: whether annotated classes are explained, or what the model says.
        categories: label, by name or index, of categories that have another name.
    """

    explain: Explained
    categories: CategoryTable


def read_survey_options(fields: JsonObject) -> SurveyOptions:
    """Take the options of a survey out of a request's fields.

    Raises:
        RiseError: `invalid-parameters`.
    """
    explain, table = fields.pop("explain", "annotated"), fields.pop("categories", {})
    if explain not in get_args(Explained):
        raise invalid_field("/explain", f"with annotations it is {' or '.join(get_args(Explained))}")
    if not isinstance(table, dict) or not all(type(label) in {int, str} for label in table.values()):
        raise invalid_field("/categories", 'write it as {"category": "label"}, with names or indices of labels')
    if fields.get("targets") is not None:
        raise invalid_field("/targets", "with annotations, `explain` says which classes are explained")
    return SurveyOptions(explain, table)


def require_surveyable(request: CanonicalRequest) -> None:
    """Raise for a request whose maps are not those of classes or objects, one value per pixel.

    Raises:
        RiseError: `invalid-parameters`.
    """
    if request.method not in _METHODS:
        raise invalid_field("/annotations", f"they are for maps of {' or '.join(_METHODS)}, not of {request.method}")


@dataclass(frozen=True)
class JoinedAnnotations:
    """The annotations of the images of a batch.

    Attributes:
        images: by the index of the image.
        summary: how many there are, and what is wrong with others.
    """

    images: dict[int, ImageAnnotation]
    summary: AnnotationSummary

    def with_targets(self, item: BatchItem, method: str) -> BatchItem:
        """Return an image with what a method explains of it: its classes, ascending; of a detector its largest objects.

        Where nothing is annotated, it is returned as it is.
        """
        found = self.images.get(item.index)
        if found is None:
            return item
        explained = _explained(found.objects, method)
        if method != _OF_OBJECTS:
            return item.model_copy(update={"labels": sorted({each.label for each in explained})})
        of_each = {"labels": [each.label for each in explained], "boxes": [each.box for each in explained]}
        return item.model_copy(update=of_each)

    def unexplained(self, method: str) -> int:
        """Return how many objects are not among the targets that `with_targets` sets."""
        return sum(len(image.objects) - len(_explained(image.objects, method)) for image in self.images.values())

    def store(self, blobs: BlobStore, batch_id: str, total: int) -> None:
        """Write the annotations of each chunk of images."""
        for first in range(0, total, CHUNK):
            here = [self.images[index] for index in range(first, first + CHUNK) if index in self.images]
            blobs.put(annotations_blob(batch_id, first), AnnotationChunk(images=here).model_dump_json().encode())


def _explained(objects: Sequence[AnnotatedObject], method: str) -> Sequence[AnnotatedObject]:
    """Return what a method explains of an image: a detector's largest objects, or all of the first classes by index."""
    if method == _OF_OBJECTS:
        return sorted(objects, key=lambda each: area(each.box), reverse=True)[:_MOST_TARGETS]
    labels = sorted({each.label for each in objects})[:_MOST_TARGETS]
    return [each for each in objects if each.label in labels]


def read_annotations(file: IO[bytes]) -> JsonObject:
    """Return the parsed file.

    Raises:
        RiseError: `request-too-large`, or `invalid-parameters` for what is no COCO file.
    """
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES or sum(content.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES:
        limits = f"{MOST_BYTES:,} bytes and {MOST_VALUES:,} values"
        raise _refused(f"a file of annotations has at most {limits}; send the images in several batches", large=True)
    try:
        data = from_json(content.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False, cache_strings="keys")
    except ValueError as cause:
        raise _refused(f"this is not JSON, or nested too deeply: {str(cause)[:200]}") from cause
    return require_coco(data)


def require_coco(data: Any) -> JsonObject:
    """Return annotations that are an object with COCO's three lists.

    Raises:
        RiseError: `invalid-parameters`.
    """
    names = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not all(isinstance(data.get(name), list) for name in names):
        raise _refused("COCO annotations are an object with the lists `images`, `annotations` and `categories`")
    return data


def _refused(detail: str, *, large: bool = False) -> RiseError:
    code = "request-too-large" if large else "invalid-parameters"
    return RiseError(code, f"annotations: {detail}", errors=[FieldError(_FIELD, detail)])


def join_annotations(
    data: JsonObject, items: Sequence[BatchItem], labels: Sequence[str], table: CategoryTable
) -> JoinedAnnotations:
    """Return the annotations of the images of a batch.

    Args:
        data: a COCO file.
        items: the images.
        labels: classes of the model.
        table: label, by name or index, of categories that have another name.

    Raises:
        RiseError: `invalid-parameters` if nothing can be used, pointing at what is wrong.
    """
    reader = _Reader(labels, table)
    images = reader.images(data["images"], items)
    categories = reader.categories(data["categories"])
    reader.objects(data["annotations"], images, categories)
    found = {image.index: image.annotation() for image in images.values() if image.objects}
    errors = reader.errors
    if not found:
        detail = "; ".join(f"{error.field}: {error.detail}" for error in errors[:3]) or "there is no entry"
        shown = [FieldError(error.field, error.detail) for error in errors[:20]]
        raise RiseError("invalid-parameters", f"annotations: none of them can be used: {detail}", errors=shown)
    summary = AnnotationSummary(
        images=len(found),
        objects=sum(len(image.objects) for image in found.values()),
        error_count=reader.error_count,
        errors=errors,
    )
    return JoinedAnnotations(found, summary)


@dataclass
class _Image:
    index: int
    size: tuple[int, int] | None
    objects: list[AnnotatedObject] = field(default_factory=list)

    def annotation(self) -> ImageAnnotation:
        return ImageAnnotation(index=self.index, size=self.size, objects=self.objects)


class _Reader:
    """Reads the three lists, and collects the errors of entries."""

    def __init__(self, labels: Sequence[str], table: CategoryTable) -> None:
        self._labels = labels
        self._table = table
        self._exact = {name: index for index, name in reversed(list(enumerate(labels)))}
        self._loose = {_loosely(name): index for index, name in reversed(list(enumerate(labels)))}
        self.errors: list[EntryError] = []
        self.error_count = 0

    def _each(self, name: str, entries: Iterable[Any], read: Callable[[JsonObject], None]) -> None:
        for place, entry in enumerate(entries):
            try:
                if not isinstance(entry, dict):
                    raise InvalidEntryError("", "this is not an object")  # noqa: TRY301 - the errors of all entries end here
                read(entry)
            except InvalidEntryError as error:
                self.error_count += 1
                if len(self.errors) < _MOST_LISTED:
                    pointer = f"{_FIELD}/{name}/{place}{error.place}"
                    self.errors.append(EntryError(field=pointer, detail=str(error)))

    def images(self, entries: Sequence[Any], items: Sequence[BatchItem]) -> dict[str, _Image]:
        """Return the images that were sent, by their ids in the file."""
        index_of, found, taken = _names_of(items), dict[str, _Image](), set[int]()

        def read(entry: JsonObject) -> None:
            key, name = read_identity(entry, "id"), entry.get("file_name")
            if not isinstance(name, str):
                raise InvalidEntryError("/file_name", "a file's name is a text")
            index = index_of(name)
            if index is None:
                raise InvalidEntryError("/file_name", f"no image was sent by the name {name[:200]!r}")
            if key in found or index in taken:
                raise InvalidEntryError("", "this image has an entry already")
            found[key] = _Image(index, read_size(entry))
            taken.add(index)

        self._each("images", entries, read)
        return found

    def categories(self, entries: Sequence[Any]) -> dict[str, int | None]:
        """Return the class index of each category, by its id in the file; None for one that is no label."""
        found: dict[str, int | None] = {}

        def read(entry: JsonObject) -> None:
            key, name = read_identity(entry, "id"), entry.get("name")
            if not isinstance(name, str):
                raise InvalidEntryError("/name", "a category's name is a text")
            found[key] = self._label(name)
            if found[key] is None:
                raise InvalidEntryError(
                    "/name", f"{name[:200]!r} is no label of the model; say which is meant in `categories`"
                )

        self._each("categories", entries, read)
        return found

    def _label(self, name: str) -> int | None:
        given = self._table.get(name, name)
        if isinstance(given, int):
            return given if 0 <= given < len(self._labels) else None
        return self._exact.get(given, self._loose.get(_loosely(given)))

    def objects(self, entries: Sequence[Any], images: dict[str, _Image], categories: dict[str, int | None]) -> None:
        """Add the objects to their images."""

        def read(entry: JsonObject) -> None:
            image = images.get(read_identity(entry, "image_id"))
            category = read_identity(entry, "category_id")
            if image is None:
                raise InvalidEntryError("/image_id", "there is no usable image of this id")
            if category not in categories:
                raise InvalidEntryError("/category_id", "there is no category of this id")
            if len(image.objects) >= _MOST_OBJECTS:
                raise InvalidEntryError("", f"an image has at most {_MOST_OBJECTS} objects")
            label = categories[category]
            if label is None:  # the category is an error already
                return
            found = read_object(entry, label, image.size)
            if found.runs is not None:
                image.size = found.runs.width, found.runs.height  # where the file does not say it elsewhere
            image.objects.append(found)

        self._each("annotations", entries, read)


def _loosely(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _names_of(items: Sequence[BatchItem]) -> Callable[[str], int | None]:
    """Return what finds an image by its name, or by the last part of it where that is clear."""
    whole = {item.name: item.index for item in items}
    counts = Counter(_last(item.name) for item in items)
    last = {_last(item.name): item.index for item in items if counts[_last(item.name)] == 1}
    return lambda name: whole.get(name, last.get(_last(name)))


def _last(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name
