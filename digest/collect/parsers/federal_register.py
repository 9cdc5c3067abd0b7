"""Documents of the Federal Register, as its API gives them (`/api/v1/documents.json`).

https://www.federalregister.gov/developers/documentation/api/v1. Its RSS lacks what this has: the "Dates" of a notice, in which a
meeting's day and a call's closing day stand, and the day on which comments close.
"""

from html import escape
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, SummaryBasis
from digest.collect.parsers.json_values import read_deadline, read_entries, read_objects, read_text
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items

DEADLINE_LABEL = "comments"


def accepts(value: object) -> bool:
    """Return whether a JSON value is an answer of the API: a count, and documents with their numbers."""
    if not isinstance(value, dict) or "count" not in value:
        return False
    results = value.get("results", [])  # left out where nothing was found
    return isinstance(results, list) and all(isinstance(r, dict) and "document_number" in r for r in results[:1])


def parse(value: dict[str, Any], kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Read the documents of one answer; those of further pages are older, and left alone."""
    items, rejected = clean_items(read_entries(value.get("results"), "document", _read_result), context)
    return ParsedDocument(kind=kind, items=items, rejected=rejected, language="en")


def _read_result(result: dict[str, Any]) -> RawItem:
    abstract, dates = read_text(result.get("abstract")), read_text(result.get("dates"))
    return RawItem(
        guid=read_text(result.get("document_number")),
        link=read_text(result.get("html_url")),
        title=escape(read_text(result.get("title")), quote=False),
        summary=escape(abstract or dates, quote=False),
        summary_basis=SummaryBasis.DESCRIPTION,
        content=escape(f"{dates} {abstract}", quote=False),
        categories=[read_text(agency.get("name")) for agency in read_objects(result.get("agencies"))],
        published=read_text(result.get("publication_date")),
        deadline=read_deadline(result.get("comments_close_on"), DEADLINE_LABEL),
    )
