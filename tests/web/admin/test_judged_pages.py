"""Every admin page checked by html-validate, each with content."""

import html
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from digest.app.settings.setting_changes import EDITABLE_TABLES
from digest.app.upkeep.nightly_steps import count_growth
from digest.collect.sources.source_rows import sync_sources
from digest.store.audit import record_audit
from digest.store.delivery_models import DeliveryState
from digest.store.models import Source
from digest.web.admin.undo_words import find_undo_words
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.postfix_lines import iso_line, log_text
from tests.html_judge import find_html_faults
from tests.moments import DRAFTING as NOW
from tests.web.admin.conftest import SETTINGS
from tests.web.admin.subscribers.test_import_pages import mailchimp_list, post_step, upload
from tests.web.admin.subscribers.test_search_pages import begin
from tests.web.admin.subscribers.test_suppression_pages import encrypted_file
from tests.web.admin.subscribers.test_suppression_pages import upload as upload_suppressions
from tests.web.admin.test_sending import NEW, delivery, fill
from tests.web.forms import post_form

SOURCE = '[[sources]]\nurl = "https://alpha.example/feed"\nname = "Alpha"\npublisher = "Alpha"\n'
# A file, and ways on.
SENDS_NO_PAGE = {"admin.download_opml", "admin.redirect_to_first_page", "admin.redirect_to_first_table"}


@pytest.mark.node
def test_the_judge_of_html_finds_nothing_on_the_pages_for_admins(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    world = move_settings_to_file(world, tmp_path, SETTINGS + SOURCE)
    fill(world)
    with world.database.write() as session:
        sync_sources(session, world.install.settings)
        session.get_one(Source, 1).moved_to = "https://moved.example/feed"
        session.add(Source(url="https://beta.example/feed", name="Beta", publisher="Beta", topics=[], active=False))
        session.add(delivery(300, "ask:1", DeliveryState.UNCERTAIN, world.ada))
        record_audit(session, "subscriber address shown", "person 1", {"why": "<asked>"}, actor="staff 1", now=NOW)
    count_growth(world.install, NOW)
    client = world.signed_in_client("admin")
    record = f"/admin/readers/{world.ada}"
    finished = upload(client, mailchimp_list(3))
    for step in ("try", "commit"):
        post_step(world, client, finished, step)
    listed = upload(client, mailchimp_list(40))
    post_step(world, client, listed, "try")
    log = (io.BytesIO(log_text([iso_line(NOW - timedelta(days=2), "anvil", "statistics")])), "mail.log")
    health = world.app.extensions["digest"].health
    post_form(client, "/admin/health")
    assert health.latest.thread is not None
    health.latest.thread.join(WAIT_TIMEOUT)
    paths = [
        *(
            "/admin/readers",
            "/admin/readers/add",
            "/admin/settings/sign-up-form",
            "/admin/readers/export",
            "/admin/readers/ask",
            "/admin/readers/silent",
            "/admin/readers/allow",
        ),
        *(record + act for act in ("", "/address", "/request", "/leave", "/stop", "/links", "/erase", "/correct")),
        *(record + form for form in ("/pause", "/preferences")),
        begin(world, client, "analytical"),
        *(
            "/admin/import",
            "/admin/import/finished/1/undo",
            "/admin/readers/suppressions",
            upload_suppressions(client, encrypted_file(tmp_path)),
            listed,
            "/admin/deliveries",
            f"/admin/deliveries/{NEW}/recipients?result=refused",
            f"/admin/deliveries/{NEW}/recipients?group=all",
            "/admin/growth",
            "/admin/health",
            "/admin/processing",
        ),
        post_form(client, f"/admin/deliveries/{NEW}/log", file=log).headers["Location"],
        *("/admin/audit", "/admin/audit/export", "/admin/staff", "/admin/staff/1", "/admin/staff/1/reset"),
        *(f"/admin/settings/{table}" for table in EDITABLE_TABLES),
        *(
            "/desk/sources",
            "/admin/sources/1",
            "/admin/sources/1/address",
            "/admin/sources/1/remove",
            "/admin/sources/add",
        ),
    ]
    answers = {path: client.get(path) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
    assert [path for path, answer in answers.items() if re.search(r"\w\.\.(?![./\w])", answer.text)] == [], (
        "two full stops"
    )
    routes = world.app.url_map.bind("localhost")
    silent = set()
    for path, answer in answers.items():
        for action in re.findall(r'<form[^>]* method="post"[^>]* action="(/admin/[^"?#]*)', answer.text):
            endpoint, values = routes.match(action, method="POST")
            act = next((str(values[name]) for name in ("act", "step", "form") if name in values), "")
            words = find_undo_words(endpoint, act)
            if words not in html.unescape(answer.text):
                silent.add((path, endpoint, act))
    assert silent == set(), "these pages don't say whether an action can be undone"
    seen = {routes.match(path.partition("?")[0])[0] for path in paths}
    there = {rule.endpoint for rule in world.app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    assert {name for name in there if name.startswith("admin.")} - seen == SENDS_NO_PAGE
    assert find_html_faults({path: answer.text for path, answer in answers.items()}, tmp_path) == ""
