"""Newsletter editions from before this installation existed, as described by their pages."""

from dataclasses import dataclass

from digest.collect.documents.parsed_document import UtcMoment, WebAddress


@dataclass(frozen=True, slots=True)
class PastStoryLink:
    """A story in a past edition. `url` is canonical, and the texts are plain."""

    url: WebAddress
    headline: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class PastEditionPage:
    """A past edition, as described by its web page or its email.

    `address` is the URL of its page, or empty if a file doesn't state it. `released_at` is in UTC,
    or None if the edition isn't dated. `counted_links` is the number of links through an email
    service's click tracking, whose targets are unknown.
    """

    title: str
    address: WebAddress
    number: int | None
    released_at: UtcMoment | None
    stories: tuple[PastStoryLink, ...]
    counted_links: int = 0
