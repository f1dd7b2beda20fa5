"""One validator for all tests of a process; its child processes end with it."""

import anyio

from app.contract.settings import Settings
from app.images.validation import ImageValidator, ValidatedImage

_VALIDATOR = ImageValidator(Settings())


def validate(content: bytes, validator: ImageValidator = _VALIDATOR) -> ValidatedImage:
    return anyio.run(validator.validate, content)
