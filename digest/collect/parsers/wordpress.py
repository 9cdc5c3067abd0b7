"""Posts as WordPress's REST API gives them (`/wp-json/wp/v2/posts?_embed`), many or one."""

from collections.abc import Iterator
from typing import Any

from digest.collect.items import Kind, Reading, Rejected
from digest.collect.parsers.found import Found, Place, take


def is_post(value: object) -> bool:
    """Say whether a JSON value is a post: it has a link and a title, which WordPress gives as rendered."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("title"), dict)
        and "link" in value
        and "date" in value
    )


def read_posts(posts: list[Any], where: Place) -> Reading:
    """Read posts; what isn't one, or isn't public, is rejected by its place."""
    items, rejected = take(_all_found(posts), where)
    return Reading(kind=Kind.WORDPRESS, items=items, rejected=rejected, language=where.language)


def _all_found(posts: list[Any]) -> Iterator[Found | Rejected]:
    for post in posts:
        if isinstance(post, str):  # the reason, where the document broke off
            yield Rejected(0, post)
        elif not is_post(post):
            yield Rejected(0, "not a WordPress post: no title or no link")
        elif (status := post.get("status", "publish")) != "publish":
            yield Rejected(0, f"the post isn't public: its status is {str(status)[:40]!r}")
        else:
            yield _found(post)


def _found(post: dict[str, Any]) -> Found:
    embedded = post["_embedded"] if isinstance(post.get("_embedded"), dict) else {}
    image, alt = _picture(post, embedded)
    return Found(
        guid=_rendered(post, "guid"),
        link=_words(post.get("link")),
        title=_rendered(post, "title"),
        summary=_rendered(post, "excerpt"),
        content=_rendered(post, "content"),
        authors=[_words(author.get("name")) for author in _objects(embedded.get("author"))],
        categories=[
            _words(term.get("name")) for terms in _lists(embedded.get("wp:term")) for term in _objects(terms)
        ],
        language=_words(post.get("lang")),
        image=image,
        image_alt=alt,
        published=_gmt(post, "date"),
        updated=_gmt(post, "modified"),
        featured=post.get("sticky") is True,
    )


def _gmt(post: dict[str, Any], name: str) -> str:
    """Give a date with its zone: `date_gmt` is UTC by definition and says so nowhere; `date` is the site's own time."""
    gmt = _words(post.get(f"{name}_gmt"))
    return f"{gmt}Z" if gmt and not gmt.endswith("Z") else gmt or _words(post.get(name))


def _picture(post: dict[str, Any], embedded: dict[str, Any]) -> tuple[str | None, str]:
    for media in _objects(embedded.get("wp:featuredmedia")):
        if address := _words(media.get("source_url")):
            return address, _words(media.get("alt_text"))
    return _words(post.get("jetpack_featured_media_url")) or None, ""


def _rendered(post: dict[str, Any], name: str) -> str:
    value = post.get(name)
    return _words(value.get("rendered")) if isinstance(value, dict) else _words(value)


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _lists(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in _lists(value) if isinstance(one, dict)]
