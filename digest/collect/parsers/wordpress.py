"""Posts from WordPress's REST API (`/wp-json/wp/v2/posts?_embed`): a single post or a list."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry
from digest.collect.parsers.json_values import read_objects, read_text
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document
from digest.collect.parsers.visitor_access_checks import PROTECTED


def accepts(value: object) -> bool:
    """Return True if a JSON value is a post, or a list that's empty or contains posts."""
    return not value or any(map(is_post, value)) if isinstance(value, list) else is_post(value)


def is_post(value: object) -> bool:
    """Return True if a JSON value is a post: it has a link, a date, and a rendered title."""
    if not isinstance(value, dict) or not isinstance(value.get("title"), dict):
        return False
    return "link" in value and "date" in value


def parse(value: Any, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse posts. Entries that aren't posts, or aren't public, are rejected with their position."""
    posts = value if isinstance(value, list) else [value]
    return clean_document(kind, _raw_items(posts), context)


def _raw_items(posts: list[Any]) -> Iterator[RawItem | RejectedEntry]:
    for post in posts:
        if isinstance(post, str):  # the reason why the document is truncated
            yield RejectedEntry(0, post)
        elif not is_post(post):
            yield RejectedEntry(0, "not a WordPress post: no title or no link")
        else:
            yield _raw_item(post)


def _raw_item(post: dict[str, Any]) -> RawItem:
    (embedded,) = read_objects([post.get("_embedded")]) or [{}]
    terms = embedded.get("wp:term")
    term_lists = map(read_objects, terms if isinstance(terms, list) else [])
    authors = read_objects(embedded.get("author"))
    image, alt = _featured_image(post, embedded)
    return RawItem(
        guid=_rendered_text(post, "guid"),
        link=read_text(post.get("link")),
        title=_rendered_text(post, "title"),
        summary=_rendered_text(post, "excerpt"),
        content=_rendered_text(post, "content"),
        authors=[read_text(author.get("name")) for author in authors],
        categories=[read_text(term.get("name")) for term in chain(*term_lists)],
        language=read_text(post.get("lang")),
        image=image,
        image_alt=alt,
        published=_date_with_zone(post, "date"),
        updated=_date_with_zone(post, "modified"),
        featured=post.get("sticky") is True,
        withheld=_explain_withheld(post),
    )


def _explain_withheld(post: dict[str, Any]) -> str:
    """Return why a post isn't public: its status, or a password. Return "" if it's public.

    The text of a protected post is empty or an author's excerpt.
    """
    if (status := post.get("status", "publish")) != "publish":
        return f"the status is {str(status)[:40]!r}"
    texts = read_objects([post.get("content"), post.get("excerpt")])
    return PROTECTED if any(text.get("protected") is True for text in texts) else ""


def _date_with_zone(post: dict[str, Any], name: str) -> str:
    """Return a date with its zone, or the site's local time if there's none.

    `date_gmt` is UTC without saying so, while `date` is in the site's own time zone.
    """
    gmt = read_text(post.get(f"{name}_gmt"))
    return f"{gmt.removesuffix('Z')}Z" if gmt else read_text(post.get(name))


def _featured_image(
    post: dict[str, Any],
    embedded: dict[str, Any],
) -> tuple[str | None, str]:
    for media in read_objects(embedded.get("wp:featuredmedia")):
        if address := read_text(media.get("source_url")):
            return address, read_text(media.get("alt_text"))
    return read_text(post.get("jetpack_featured_media_url")) or None, ""


def _rendered_text(post: dict[str, Any], name: str) -> str:
    value = post.get(name)
    return read_text(value.get("rendered") if isinstance(value, dict) else value)
