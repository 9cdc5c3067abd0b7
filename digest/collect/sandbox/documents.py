"""Documents read in a child process: the same functions as the parsers', for everybody outside of it."""

from datetime import datetime
from typing import Any

from digest.collect.parsed_document import ParsedDocument, ParseError
from digest.collect.sandbox.client import SANDBOX, DocumentRefusedError
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
