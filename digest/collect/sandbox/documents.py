"""Documents and pictures read in a child process: the functions of the parsers and of the codec, for everybody outside."""

from datetime import datetime
from typing import Any

from digest.collect.encoded_image import CropShape, EncodedImage, ImageError
from digest.collect.parsed_document import ParsedDocument, ParseError
from digest.collect.sandbox.client import SANDBOX, DocumentRefusedError, SandboxError
from digest.collect.sandbox.document_json import decode_document


def parse_document(
    body: bytes, *, url: str, now: datetime, content_type: str | None = None, charset: str | None = None
) -> ParsedDocument:
    """Read one document as `parsers.parse_document` does.

    Raises:
        ParseError: the document can't be read, or ran into a limit.
    """
    return _read({"operation": "document", "url": url, "content_type": content_type, "charset": charset}, body, now)


def parse_saved_file(body: bytes, *, file_url: str, site: str, now: datetime) -> ParsedDocument:
    """Read a saved document as `parsers.saved_file.parse_saved_file` does.

    Raises:
        ParseError: the document can't be read, or ran into a limit.
    """
    return _read({"operation": "saved file", "file_url": file_url, "site": site}, body, now)


def _read(head: dict[str, Any], body: bytes, now: datetime) -> ParsedDocument:
    try:
        return decode_document(*SANDBOX.run({**head, "now": now.isoformat()}, body))
    except DocumentRefusedError as refusal:
        raise ParseError(str(refusal)) from refusal


def fit_in_child(body: bytes, *, max_pixels: int) -> EncodedImage:
    """Make a picture fit for the mail as `image_codec.fit_image` does.

    Raises:
        ImageError: it is no usable picture, or ran into a limit.
    """
    return _encode({"operation": "fit picture", "max_pixels": max_pixels}, body)


def crop_in_child(body: bytes, shape: CropShape) -> EncodedImage:
    """Cut a picture to a shape as `image_codec.crop_image` does.

    Raises:
        ImageError: it is no picture, or ran into a limit.
    """
    return _encode({"operation": "crop picture", "shape": shape.value}, body)


def _encode(head: dict[str, Any], body: bytes) -> EncodedImage:
    try:
        reply, content = SANDBOX.run(head, body)
    except DocumentRefusedError as refusal:
        raise ImageError(str(refusal)) from refusal
    except SandboxError as error:  # no picture is worth an edition
        raise ImageError(f"it cannot be read ({str(error).splitlines()[-1]})"[:300]) from error
    return EncodedImage(content, reply["content_type"], int(reply["width"]), int(reply["height"]))
