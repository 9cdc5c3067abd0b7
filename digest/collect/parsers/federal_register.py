"""Documents of the Federal Register, as its API gives them (`/api/v1/documents.json`).

https://www.federalregister.gov/developers/documentation/api/v1. Its RSS lacks what this has: the "Dates" of a notice, in which a
meeting's day and a call's closing day stand, and the day on which comments close.
"""

from collections.abc import Iterator
from datetime import date
from html import escape
from typing import Any, TypeGuard

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry, SummaryBasis
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items

DEADLINE_LABEL = "comments"


def is_federal_register(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a JSON value is an answer of the API: a count, and documents with their numbers."""
    if not isinstance(value, dict) or "count" not in value:
        return False
    results = value.get("results", [])  # left out where nothing was found
    return isinstance(results, list) and all(isinstance(r, dict) and "document_number" in r for r in results[:1])


def parse_federal_register(value: dict[str, Any], context: ParseContext) -> ParsedDocument:
    """Read the documents of one answer; those of further pages are older, and left alone."""
    items, rejected = clean_items(_raw_items(value.get("results", [])), context)
    return ParsedDocument(kind=DocumentKind.FEDERAL_REGISTER, items=items, rejected=rejected, language="en")


def _raw_items(results: list[Any]) -> Iterator[RawItem | RejectedEntry]:
    for result in results:
        if isinstance(result, dict):
            yield _raw_item(result)
        else:
            yield RejectedEntry(0, "the document is no JSON object")


def _raw_item(result: dict[str, Any]) -> RawItem:
    abstract, dates = _text(result, "abstract"), _text(result, "dates")
    closes = _read_day(result.get("comments_close_on"))
    return RawItem(
        guid=_text(result, "document_number"),
        link=_text(result, "html_url"),
        title=escape(_text(result, "title"), quote=False),
        summary=escape(abstract or dates, quote=False),
        summary_basis=SummaryBasis.DESCRIPTION,
        content=escape(f"{dates} {abstract}", quote=False),
        categories=_agency_names(result),
        published=_text(result, "publication_date"),
        deadline=Deadline(closes, label=DEADLINE_LABEL) if closes else None,
    )


def _agency_names(result: dict[str, Any]) -> list[str]:
    agencies = result.get("agencies")
    found = agencies if isinstance(agencies, list) else []
    return [name for agency in found if isinstance(agency, dict) and (name := _text(agency, "name"))]


def _text(result: dict[str, Any], key: str) -> str:
    value = result.get(key)
    return value.strip() if isinstance(value, str) else ""


def _read_day(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
