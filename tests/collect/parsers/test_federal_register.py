"""The Federal Register's API: notices with their dates, which give deadlines and meetings."""

import json
from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers import parse_document
from tests.moments import AFTER_RELEASE as NOW

URL = "https://register.example.gov/api/v1/documents.json"
RULE: dict[str, Any] = {
    "document_number": "2026-25001",
    "title": "Lights & Buoys; Proposed Rule",
    "abstract": "The office proposes to move the lights of Port Ellery.",
    "dates": "Comments must be received on or before January 19, 2027.",
    "comments_close_on": "2027-01-19",
    "html_url": "https://register.example.gov/documents/2026/11/18/2026-25001/lights-and-buoys",
    "publication_date": "2026-11-18",
    "agencies": [{"name": "Harbor Office", "raw_name": "HARBOR OFFICE"}, {"raw_name": "X"}, "odd"],
}
MEETING: dict[str, Any] = {
    "document_number": "2026-25002",
    "title": "Harbor Advisory Council; Notice of Meeting",
    "abstract": None,
    "dates": "Registration: Register no later than 5:00 p.m. ET on December 4, 2026. Meeting: The council will meet on "
    "Tuesday, December 8, 2026, from 1:00 p.m. to 3:00 p.m. ET.",
    "comments_close_on": None,
    "html_url": "https://register.example.gov/documents/2026/11/19/2026-25002/harbor-council",
    "publication_date": "2026-11-19",
    "agencies": None,
}


def reading(*results: Any) -> ParsedDocument:
    body = json.dumps({"count": len(results), "total_pages": 1, "results": list(results)}).encode()
    return parse_document(body, url=URL, now=NOW)


def test_a_rule_has_its_closing_day_and_its_agency() -> None:
    got = reading(RULE)
    assert (got.kind, got.rejected) == (DocumentKind.FEDERAL_REGISTER, ())
    (rule,) = got.items
    assert (rule.title, rule.summary, rule.guid) == ("Lights & Buoys; Proposed Rule", RULE["abstract"], "2026-25001")
    assert (rule.published, rule.categories) == (datetime(2026, 11, 18, 12, tzinfo=UTC), ("Harbor Office",))
    assert rule.deadline == Deadline(date(2027, 1, 19), label="comments")


def test_a_notice_of_a_meeting_has_its_hour_and_the_end_of_registration() -> None:
    (meeting,) = reading(MEETING).items
    assert (meeting.announced_at, meeting.event_zone) == (datetime(2026, 12, 8, 18, tzinfo=UTC), "America/New_York")
    assert meeting.deadline == Deadline(date(2026, 12, 4), time(17), "America/New_York", "registration")


def test_without_a_closing_day_it_is_read_from_the_dates() -> None:
    (rule,) = reading(RULE | {"comments_close_on": "soon"}).items
    assert rule.deadline == Deadline(date(2027, 1, 19), label="comments")


def test_what_is_no_document_is_rejected_by_its_place_and_an_empty_answer_is_none() -> None:
    got = reading(RULE, "nothing", {"document_number": "3"})
    assert [(r.place, r.reason.partition(":")[0]) for r in got.rejected] == [
        (2, "the document isn't a JSON object"),
        (3, "no link, and the id isn't a URL"),
    ]
    assert reading().items == ()
    assert parse_document(b'{"count": 0}', url=URL, now=NOW).items == ()


def test_other_json_with_results_is_refused() -> None:
    with pytest.raises(ParseError):
        parse_document(b'{"count": 1, "results": [{"id": 1}]}', url=URL, now=NOW)
