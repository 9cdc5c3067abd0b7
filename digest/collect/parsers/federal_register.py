"""Federal Register documents, from its API (`/api/v1/documents.json`).

https://www.federalregister.gov/developers/documentation/api/v1. The Register's RSS feeds lack the
date on which comments close and the "Dates" of a notice, which contain the days of meetings and the
closing days of calls.
"""

from html import escape
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, SummaryBasis
from digest.collect.parsers.json_values import (
    read_deadline,
    read_entries,
    read_objects,
    read_text,
    read_text_values_by_key,
)
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document

DEADLINE_LABEL = "comments"


def accepts(value: object) -> bool:
    """Return True if a JSON value is a response of the API.

    It must have a count and documents with their numbers.
    """
    if not isinstance(value, dict) or "count" not in value:
        return False
    results = value.get("results", [])  # missing if there are no results
    if not isinstance(results, list):
        return False
    return all(isinstance(result, dict) and "document_number" in result for result in results[:1])


def parse(value: dict[str, Any], kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse the documents in one response.

    Further pages contain older documents and aren't fetched.
    """
    raw_items = read_entries(value.get("results"), "document", _read_result)
    return clean_document(kind, raw_items, context, language="en")


def _read_result(result: dict[str, Any]) -> RawItem:
    texts = read_text_values_by_key(result)
    abstract, dates = texts["abstract"], texts["dates"]
    agencies = read_objects(result.get("agencies"))
    return RawItem(
        guid=texts["document_number"],
        link=texts["html_url"],
        title=escape(texts["title"], quote=False),
        summary=escape(abstract or dates, quote=False),
        summary_basis=SummaryBasis.DESCRIPTION,
        content=escape(f"{dates} {abstract}", quote=False),
        categories=[read_text(agency.get("name")) for agency in agencies],
        published=texts["publication_date"],
        deadline=read_deadline(result.get("comments_close_on"), DEADLINE_LABEL),
    )
