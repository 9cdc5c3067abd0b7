"""What a child can be asked to do: each operation takes a request's head and body, and gives the reply's."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

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


OPERATIONS: dict[str, Callable[[dict[str, Any], bytes], Reply]] = {
    "document": _parse_document,
    "saved file": _parse_saved_file,
}
