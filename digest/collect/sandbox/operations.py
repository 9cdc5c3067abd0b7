"""What a child can be asked to do: each operation takes a body and the rest of its head, and gives the reply's head and body."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from digest.collect.encoded_image import CropShape, EncodedImage
from digest.collect.image_codec import crop_image, fit_image
from digest.collect.parsed_document import encode_document
from digest.collect.parsers import parse_document
from digest.collect.parsers.saved_file import parse_saved_file

Reply = tuple[dict[str, Any], bytes]


def _parse_document(body: bytes, *, now: str, **source: Any) -> Reply:
    return encode_document(parse_document(body, now=datetime.fromisoformat(now), **source))


def _parse_saved_file(body: bytes, *, now: str, **source: Any) -> Reply:
    return encode_document(parse_saved_file(body, now=datetime.fromisoformat(now), **source))


def _fit_picture(body: bytes, *, max_pixels: int) -> Reply:
    return _picture_reply(fit_image(body, max_pixels=max_pixels))


def _crop_picture(body: bytes, *, shape: str) -> Reply:
    return _picture_reply(crop_image(body, CropShape(shape)))


def _picture_reply(image: EncodedImage) -> Reply:
    return {"content_type": image.content_type, "width": image.width, "height": image.height}, image.body


OPERATIONS: dict[str, Callable[..., Reply]] = {
    "document": _parse_document,
    "saved file": _parse_saved_file,
    "fit picture": _fit_picture,
    "crop picture": _crop_picture,
}
