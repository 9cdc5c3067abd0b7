"""Posts as WordPress's REST API gives them (`/wp-json/wp/v2/posts?_embed`), many or one."""

from collections.abc import Iterator
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry
from digest.collect.parsers.public_access import PROTECTED
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items


def is_wordpress_post(value: object) -> bool:
    """Return whether a JSON value is a post: it has a link and a title, which WordPress gives as rendered."""
    return isinstance(value, dict) and isinstance(value.get("title"), dict) and "link" in value and "date" in value


def parse_wordpress_posts(posts: list[Any], context: ParseContext) -> ParsedDocument:
    """Read posts; what isn't one, or isn't public, is rejected by its place."""
    items, rejected = clean_items(_raw_items(posts), context)
    return ParsedDocument(kind=DocumentKind.WORDPRESS, items=items, rejected=rejected, language=context.language)


def _raw_items(posts: list[Any]) -> Iterator[RawItem | RejectedEntry]:
    for post in posts:
        if isinstance(post, str):  # the reason, where the document broke off
            yield RejectedEntry(0, post)
        elif not is_wordpress_post(post):
            yield RejectedEntry(0, "not a WordPress post: no title or no link")
        else:
            yield _raw_item(post)


def _raw_item(post: dict[str, Any]) -> RawItem:
    embedded = post["_embedded"] if isinstance(post.get("_embedded"), dict) else {}
    image, alt = _featured_image(post, embedded)
    return RawItem(
        guid=_rendered_text(post, "guid"),
        link=_text_value(post.get("link")),
        title=_rendered_text(post, "title"),
        summary=_rendered_text(post, "excerpt"),
        content=_rendered_text(post, "content"),
        authors=[_text_value(author.get("name")) for author in _as_objects(embedded.get("author"))],
        categories=[
            _text_value(term.get("name")) for terms in _as_list(embedded.get("wp:term")) for term in _as_objects(terms)
        ],
        language=_text_value(post.get("lang")),
        image=image,
        image_alt=alt,
        published=_date_with_zone(post, "date"),
        updated=_date_with_zone(post, "modified"),
        featured=post.get("sticky") is True,
        withheld=_explain_withheld(post),
    )


def _explain_withheld(post: dict[str, Any]) -> str:
    """Return why a post isn't public: its status, or a password; what it shows then is an empty text, or an author's excerpt."""
    if (status := post.get("status", "publish")) != "publish":
        return f"its status is {str(status)[:40]!r}"
    texts = (post.get("content"), post.get("excerpt"))
    return PROTECTED if any(isinstance(text, dict) and text.get("protected") is True for text in texts) else ""


def _date_with_zone(post: dict[str, Any], name: str) -> str:
    """Return a date with its zone: `date_gmt` is UTC by definition and says so nowhere; `date` is the site's own time."""
    gmt = _text_value(post.get(f"{name}_gmt"))
    return f"{gmt}Z" if gmt and not gmt.endswith("Z") else gmt or _text_value(post.get(name))


def _featured_image(post: dict[str, Any], embedded: dict[str, Any]) -> tuple[str | None, str]:
    for media in _as_objects(embedded.get("wp:featuredmedia")):
        if address := _text_value(media.get("source_url")):
            return address, _text_value(media.get("alt_text"))
    return _text_value(post.get("jetpack_featured_media_url")) or None, ""


def _rendered_text(post: dict[str, Any], name: str) -> str:
    value = post.get(name)
    return _text_value(value.get("rendered")) if isinstance(value, dict) else _text_value(value)


def _text_value(value: object) -> str:
    return value if isinstance(value, str) else ""


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in _as_list(value) if isinstance(entry, dict)]
