"""A mail scanner opens everything that it finds. It must change nothing."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from digest.store.engine import Database
from digest.store.models import EditionState

RELEASE = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
LINK = re.compile(r'(?:href|src|action)="([^"]*)"')


def open_everything(client: FlaskClient, starts: list[str]) -> Iterator[tuple[str, TestResponse]]:
    """Follow every link and form address of our own, as deep as they go; give each path and its answer, once."""
    seen, todo = set(), list(starts)
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path)
        yield path, answer
        if answer.mimetype != "text/html":
            continue
        for link in LINK.findall(answer.text):
            parts = urlsplit(urljoin(f"https://news.example.org{path}", unescape(link)))
            if parts.netloc == "news.example.org":
                todo.append(parts.path + (f"?{parts.query}" if parts.query else ""))


def open_by(client: FlaskClient, method: str, path: str) -> None:
    """Open a page ahead of its reader, and see that it fails nowhere."""
    answer = client.open(path, method=method, headers={"Sec-Purpose": "prefetch"})
    assert answer.status_code < 500, (method, path)


def find_starts(world: Any) -> list[str]:
    """Give where a scanner that may see everything begins, with two editions in the installation."""
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    world.edition()
    readers = [f"/u/{world.token('leave')}", f"/preferences/{world.token('preferences')}"]
    readers += [f"/u/{world.token('test leave')}", f"/preferences/{world.token('test preferences')}"]
    return ["/", "/desk/", *readers, "/healthz", "/readyz", "/metrics", "/admin/readers"]


def test_opening_every_page_in_every_way_changes_no_row(world: Any) -> None:
    starts = find_starts(world)
    client = world.signed_in_client("admin")  # who may open the editors' pages too
    before = world.dump()
    found = set()
    for path, answer in open_everything(client, starts):
        found.add(path)
        assert answer.status_code < 500, path
        open_by(client, "HEAD", path)
        open_by(client, "OPTIONS", path)
    assert len(found) > 30
    assert {"/desk/sources", "/desk/sent", "/desk/editions/2026-W47/approve", "/privacy"} <= found
    assert {"/admin/staff", "/admin/deliveries", "/admin/audit", f"/admin/readers/{world.ada}/erase"} <= found
    # Twice by each method: what a page does when it is opened again is no less seen. With other queries it was opened again above.
    for path in sorted((path for path in found if "?" not in path), reverse=True):
        for method in ("HEAD", "OPTIONS", "GET"):
            open_by(client, method, path)
    assert world.dump() == before
    assert not world.install.settings.left_log.exists()


def test_on_postgresql_opening_every_page_changes_no_row(
    postgresql: Database, tmp_path: Path, build_world: Callable[..., Any]
) -> None:
    """By GET, once: which method it is, and how often it comes, is nothing that a database has a say in."""
    world = build_world(postgresql, tmp_path)
    starts = find_starts(world)
    client = world.signed_in_client("admin")
    before = world.dump()
    for path, answer in open_everything(client, starts):
        assert answer.status_code < 500, path
    assert world.dump() == before


def test_no_link_of_ours_is_dead(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    client, forms_and_pages = world.desk, world.app.url_map.bind("")
    starts = ["/", "/desk/", f"/preferences/{world.token('preferences')}"]
    for path, answer in open_everything(client, starts):
        if "/SAMPLE" in path or "GET" not in forms_and_pages.allowed_methods(urlsplit(path).path):
            continue  # an invented reader has no pages, and where a form goes to there is nothing to look at
        assert answer.status_code == 200, path


def test_a_head_of_the_leave_page_is_answered_like_its_get(world: Any) -> None:
    path = f"/u/{world.token('leave')}"
    head, get = world.client.head(path), world.client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert "POST" in world.client.options(path).headers["Allow"]
