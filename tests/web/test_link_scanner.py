"""A mail scanner opens everything that it finds. It must change nothing."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

from digest.store.models import EditionState

RELEASE = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
LINK = re.compile(r'(?:href|src|action)="([^"]*)"')


def everything_from(client: Any, starts: list[str]) -> set[str]:
    """Follow every link and form address of our own, as deep as they go."""
    seen, todo = set(), list(starts)
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path)
        if answer.mimetype != "text/html":
            continue
        for link in LINK.findall(answer.text):
            parts = urlsplit(urljoin(f"https://news.example.org{path}", unescape(link)))
            if parts.netloc == "news.example.org":
                todo.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    return seen


def test_opening_every_page_in_every_way_changes_no_row(both: Any) -> None:
    both.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    both.edition()
    starts = ["/", "/desk/", f"/u/{both.token('leave')}", f"/preferences/{both.token('preferences')}"]
    starts += [
        f"/u/{both.token('test leave')}",
        f"/preferences/{both.token('test preferences')}",
        "/healthz",
        "/readyz",
        "/metrics",
    ]
    client = both.signed_in_client("admin")  # who may open the editors' pages too
    before = both.dump()
    found = everything_from(client, [*starts, "/admin/readers"])
    assert len(found) > 30
    assert {"/desk/sources", "/desk/sent", "/desk/editions/2026-W47/approve", "/privacy"} <= found
    assert {"/admin/staff", "/admin/deliveries", "/admin/audit", f"/admin/readers/{both.ada}/erase"} <= found
    for _ in range(2):
        for path in sorted(found, reverse=True):
            for method in ("HEAD", "OPTIONS", "GET"):
                answer = client.open(path, method=method, headers={"Sec-Purpose": "prefetch"})
                assert answer.status_code < 500, (method, path)
    assert both.dump() == before
    assert not both.install.settings.left_log.exists()


def test_no_link_of_ours_is_dead(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    client, forms_and_pages = world.desk, world.app.url_map.bind("")
    for path in everything_from(client, ["/", "/desk/", f"/preferences/{world.token('preferences')}"]):
        if "/SAMPLE" in path or "GET" not in forms_and_pages.allowed_methods(urlsplit(path).path):
            continue  # an invented reader has no pages, and where a form goes to there is nothing to look at
        assert client.get(path).status_code == 200, path


def test_a_head_of_the_leave_page_is_answered_like_its_get(world: Any) -> None:
    path = f"/u/{world.token('leave')}"
    head, get = world.client.head(path), world.client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert "POST" in world.client.options(path).headers["Allow"]
