"""The operations of a child process.

Each takes a body and the fields of the head, and returns the reply's head and body.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from digest.collect.documents.parsed_document import ParsedDocument, encode_document
from digest.collect.documents.past_edition import PastEditionPage
from digest.collect.imaging.card_image import draw_icon, draw_social_card
from digest.collect.imaging.encoded_image import CropShape, EncodedImage, SocialCardTexts
from digest.collect.imaging.image_codec import count_colors, crop_image, fit_header, fit_image, fit_logo
from digest.collect.parsers import parse_document
from digest.collect.parsers.page import explain_unreadable_page, read_page_publisher, read_supersession
from digest.collect.parsers.past_edition import read_past_edition
from digest.collect.parsers.saved_file import parse_saved_file
from digest.collect.sandbox.confinement import probe_sandbox
from subscribers.transfer.packed_lists import unpack_list

Reply = tuple[dict[str, Any], bytes]


def _parse(
    parse: Callable[..., ParsedDocument],
    body: bytes,
    *,
    now: str,
    **source: Any,
) -> Reply:
    return encode_document(parse(body, now=datetime.fromisoformat(now), **source))


def _encode(encode: Callable[..., EncodedImage], body: bytes, **options: Any) -> Reply:
    values = asdict(encode(body, **options))
    return values, values.pop("body")


def _read_past_edition(body: bytes, *, now: str, **source: Any) -> Reply:
    page = read_past_edition(body, now=datetime.fromisoformat(now), **source)
    return TypeAdapter(PastEditionPage).dump_python(page, mode="json"), b""


def _read_article_page(body: bytes, **headers: Any) -> Reply:
    return {
        "barrier": explain_unreadable_page(body, **headers),
        "supersession": read_supersession(body, **headers),
        "publisher": read_page_publisher(body, **headers),
    }, b""


def _unpack_list(body: bytes, *, start: int) -> Reply:
    piece, more = unpack_list(body, start=start)
    return {"more": more}, piece


OPERATIONS: dict[str, Callable[..., Reply]] = {
    "document": partial(_parse, parse_document),
    "saved file": partial(_parse, parse_saved_file),
    "article page": _read_article_page,
    "list open doors": lambda _body: ({"doors": probe_sandbox()}, b""),
    "past edition": _read_past_edition,
    "fit picture": partial(_encode, fit_image),
    "fit logo": partial(_encode, fit_logo),
    "fit header": partial(_encode, fit_header),
    "count colors": lambda body: (asdict(count_colors(body)), b""),
    "draw card": lambda body, *, focus, **words: _encode(
        draw_social_card, body, words=SocialCardTexts(**words), focus=focus
    ),
    "draw icon": partial(_encode, draw_icon),
    "unpack list": _unpack_list,
    "crop picture": lambda body, *, shape, focus: _encode(crop_image, body, shape=CropShape(shape), focus=focus),
}
