"""A newsletter that went out before this installation, as its page tells: when, under which number, and what it linked."""

from dataclasses import dataclass

from digest.collect.documents.parsed_document import UtcMoment, WebAddress


@dataclass(frozen=True, slots=True)
class PastStoryLink:
    """One story of a past edition: `url` canonical, texts plain."""

    url: WebAddress
    headline: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class PastEditionPage:
    """A past edition. `address` is its own page's, empty where a file names none; `released_at` UTC, None where it says no date.

    `counted_links` is how many links lead through a mail service's counter, so that nobody knows where to.
    """

    title: str
    address: WebAddress
    number: int | None
    released_at: UtcMoment | None
    stories: tuple[PastStoryLink, ...]
    counted_links: int = 0
