"""What a child can be asked to do: each operation takes a request's head and body, and gives the reply's."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from digest.collect.encoded_image import CropShape, EncodedImage
from digest.collect.image_codec import crop_image, fit_image
from digest.collect.parsers import parse_document
from digest.collect.parsers.saved_file import parse_saved_file
from digest.collect.sandbox.document_json import encode_document

Reply = tuple[dict[str, Any], bytes]


def _parse_document(head: dict[str, Any], body: bytes) -> Reply:
    return encode_document(
        parse_document(
            body,
            url=head["url"],
            now=datetime.fromisoformat(head["now"]),
            content_type=head["content_type"],
            charset=head["charset"],
        )
    )


def _parse_saved_file(head: dict[str, Any], body: bytes) -> Reply:
    now = datetime.fromisoformat(head["now"])
    return encode_document(parse_saved_file(body, file_url=head["file_url"], site=head["site"], now=now))


def _fit_picture(head: dict[str, Any], body: bytes) -> Reply:
    return _picture_reply(fit_image(body, max_pixels=head["max_pixels"]))


def _crop_picture(head: dict[str, Any], body: bytes) -> Reply:
    return _picture_reply(crop_image(body, CropShape(head["shape"])))


def _picture_reply(image: EncodedImage) -> Reply:
    return {"content_type": image.content_type, "width": image.width, "height": image.height}, image.body


OPERATIONS: dict[str, Callable[[dict[str, Any], bytes], Reply]] = {
    "document": _parse_document,
    "saved file": _parse_saved_file,
    "fit picture": _fit_picture,
    "crop picture": _crop_picture,
}
