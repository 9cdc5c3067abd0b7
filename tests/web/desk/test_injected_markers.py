"""Text from any field or from outside stays text wherever it's shown: in pages, emails, feeds, and the archive."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from itertools import chain

import pytest
from playwright.sync_api import Browser, Dialog, Route, expect
from pytest_httpserver import HTTPServer

from digest.store.engine import open_database
from tests.browser import open_all_details
from tests.injected_markers import KEY, MarkerJudge, list_plantable_forms, make_marker
from tests.run_database import HomeDatabases
from tests.shared_statements import share_compiled_statements
from tests.web.desk.marked_installation import MarkedInstallation, live_through_a_week, open_marked_installation
from tests.web.desk.page_forms import SITE

# Fields of which no page, mail or file shows what was written, by the reason.
UNSEEN: dict[str, tuple[str, ...]] = {
    "a person's name, in which no digit is taken, so a marker's key isn't either": (
        *("auth.submit_name: name", "admin.invite_member: name"),
    ),
    "a number, and nothing else is taken": (
        *("settings publication: first_number", "settings branding: bar", "settings branding: logo_height", "settings sections: #.most", "settings sections: #.place"),
        *(f"settings schedule: {name}" for name in ("deadline_hours", "final_check_minutes", "reminder_hours")),
        *(f"settings backup: {name}" for name in ("daily", "weekly", "monthly")),
        *(f"settings limits: {name}" for name in ("send_per_hour", "send_per_second", "warm_up", "proxies", "contact_per_network")),
        *(f"settings limits: signups_{name}" for name in ("alert", "first", "further", "per_domain", "per_network", "waiting")),
        *("admin.change_subscriber: number", "admin.open_subscriber: number", "admin.change_member: number"),
        *("admin.submit_new_source: weight", "admin.submit_source_changes: weight"),
    ),
    "a colour, a rule of times, a language, a zone, a key or the name of a kept file, and nothing else is taken": (
        *(f"settings branding: {name}" for name in ("accent", "accent_dark", "label", "label_dark", "tint", "tint_dark", "background", "logo", "logo_dark", "header")),
        *("admin.submit_preferences: zone", "settings schedule: collect", "settings backup: at", "settings publication: language", "settings publication: timezone"),
        "settings sections: #.key",
    ),
    "a password or a code, which nothing shows": (
        *("auth.submit_password: password", "auth.submit_password: code"),
        *("auth.submit_new_password: password", "auth.submit_new_password: code"),
        *("admin.export_suppression_list: passphrase", "admin.export_suppression_list: repeated"),
        "admin.run_suppression_step: passphrase",
    ),
    "a source answers there before it's saved: tests/web/admin/test_sources.py": ("admin.submit_source_changes: url",),
    "the key of a device comes with it: tests/web/auth gives it one": ("auth.submit_passkey: name",),
    "it is looked up, and pages hold no address": (
        *("admin.find_subscriber: address", "admin.begin_search: part", "admin.filter_subscribers: domain", "admin.remove_suppression: address"),
        "admin.correct_address: address",
        "signup.request_lost_link: email",
    ),
    "who fills it is a machine, and gets nothing": (
        *("signup.submit_signup: website", "signup.request_lost_link: website", "subscribers.write_to_the_editors: website"),
    ),
    "a file keeps no name": (
        *("admin.upload_mail_log: file", "admin.upload_opml: file", "admin.upload_suppression_file: file", "editing.save_story: file"),
        "editing.save_block: file",
    ),
    "what was found there is shown, with an address of its own": ("admin.preview_new_source: address",),
    "only names that are known are kept of it": ("outside: user agent",),
    "only the codes of a reply are kept": ("outside: webhook, reason", "outside: webhook, response", "outside: webhook, status"),
    "it names, it is kept or it is compared, and is shown nowhere": (
        *(f"outside: feed, {name}" for name in ("author", "category", "id")),
        *(f"outside: atom, {name}" for name in ("author", "id", "name")),
        *(f"outside: json, {name}" for name in ("author", "id", "name", "tag", "text")),
        *(f"outside: page, {name}" for name in ("author", "description", "text", "title")),
        *("outside: event, id", "outside: list of readers, name"),
    ),
    "a row of a list is named by its number": ("outside: list of readers, address", "outside: list of readers, status"),
    "an answer that something is not there does not repeat it": tuple(
        f"path: {place}" for place in ("/", "/admin/settings/", "/desk/editions/", "/desk/mails/", "/editions/", "/topics/", "/u/")
    ),
    "what its page does not know is as if it were not there": tuple(
        f"query: {name}"
        for name in (
            *("ask", "at", "back", "below", "clock", "day", "domain", "done", "filter", "from", "import", "moment", "next"),
            *("omit", "open", "order", "page", "panel", "release", "removed", "row", "saved", "show", "since", "sort", "start"),
            *("state", "tab", "taken_back", "to", "topic", "undoing", "view", "what"),
        )
    ),
}  # fmt: skip
# Routes whose forms hold no text, or that take no form of a page; every route is reached in test_fuzzed_forms.py.
UNMET = frozenset(
    {
        *("admin.abandon_import", "admin.ask_unverified_people", "admin.back_up_now", "admin.start_health_check"),
        "auth.request_sign_in_link",  # only of members without another way to sign in, and some time after they did
        *(
            "admin.submit_source_removal",
            "admin.remove_upload",
            "admin.resolve_deliveries_by_mail_log",
            "admin.stop_search",
            "admin.stop_suppression_step",
            "admin.stop_upload",
        ),
        *(
            "auth.confirm_identity_by_passkey",
            "auth.discard_kept_form",
            "auth.end_other_sessions",
            "auth.end_session",
            "auth.remove_passkey",
            "auth.sign_out",
        ),
        *(
            "auth.mark_failed_sign_ins_as_seen",
            "auth.make_new_recovery_codes",
            "corrections.email_correction",
            "desk.pause_or_resume",
        ),
        *("desk.submit_approval", "desk.revoke_approval", "editing.choose_lead_article", "history.restore_past_state"),
        *("admin.follow_moved_source", "admin.undo_source_move", "admin.ask_inactive_subscribers", "signup.stay_now"),
        *(
            "subscribers.mail_undo_link",
            "sending.cancel_sending",
            "sending.drop_set_aside_emails",
            "sending.send_set_aside_emails",
            "sending.pause_or_resume_all",
            "signup.submit_confirmation",
        ),
        "admin.undo_import",  # no import is finished in this week
        "sending.suppress_refused",  # nor is a mailbox full
        *("signup.save_first_preferences", "subscribers.stop_address_change", "subscribers.turn_off_breaking_news"),
        "breaking_news.send_now",
        "auth.confirm_identity_by_password",  # a password alone
        "desk.email_address_verification_link",  # of members whose address isn't verified
        "hooks.receive_events",  # whose words come by `hear_from_outside`
    }
)
# What holds nobody's words, or stands nowhere in this week.
UNOPENED = frozenset(
    {
        "admin.confirm_moved_source",  # only of a source that has moved: tests/web/admin/test_sources.py
        *(
            "archive.icon",
            "archive.small_icon",
            "archive.touch_icon",
            "archive.image_file",
            "archive.robots",
            "archive.script_file",
            "archive.style_sheet",
        ),
        *(
            "auth.draw_authenticator_qr_code",
            "auth.show_identity_confirmation",
            "health.report_liveness",
            "health.report_metrics",
            "health.report_readiness",
        ),
        "admin.show_import_undo",
        *("admin.redirect_to_first_page", "auth.show_kept_form", "sending.ask_before_suppressing"),
        "approvals.ask_before_revoking",  # only of an approved edition: tests/web/desk/approval/test_approval_pages.py
        "breaking_news.ask_before_sending_now",  # no breaking news is drafted in this week
        *("admin.show_permission_form", "subscribers.show_unsubscribed_state", "subscribers.show_preferences_again"),
        *("subscribers.ask_to_stop_address_change", "subscribers.ask_to_turn_off_breaking_news"),
        "signup.show_confirmation_again",
    }
)
# Whose forms are refused in the end: a device, a code of this minute, a password, the same passphrase twice, and stories' URLs are asked for.
REFUSED = frozenset(
    {
        *("auth.submit_new_password", "auth.submit_passkey", "auth.submit_password"),
        "admin.export_suppression_list",
        "admin.probe_source",  # the typed URL can't be reached
        "breaking_news.draft_breaking_news",
    }
)


@pytest.fixture(scope="module")
def marked(
    make_httpserver: HTTPServer, home_databases: HomeDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MarkedInstallation]:
    """Live through a week in which every field was marked."""
    home = tmp_path_factory.mktemp("marked")
    database = share_compiled_statements(open_database(home_databases.create(home)))
    run, clock = open_marked_installation(home, database, make_httpserver)
    yield live_through_a_week(run, clock)
    database.close()
    home_databases.drop(home)


def test_no_marker_is_more_than_words(marked: MarkedInstallation) -> None:
    assert not marked.run.judge.faults


def test_every_field_is_seen_again_or_named_with_the_reason_why_not(marked: MarkedInstallation) -> None:
    assert marked.marked_fields - marked.seen_fields == set(chain.from_iterable(UNSEEN.values()))
    assert len(marked.seen_fields) > 90
    # What forms write alone, without addresses' queries and what comes from outside.
    typed = [field for field in marked.seen_fields if not field.startswith(("outside:", "query:"))]
    assert len(typed) > 70


def test_every_form_with_a_text_is_filled_and_taken(marked: MarkedInstallation) -> None:
    run = marked.run
    routes = {rule.endpoint for rule in run.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    assert routes - {key[0] for key in run.known} == UNMET
    assert run.refused - run.taken == REFUSED
    assert not run.waiting


def test_every_page_is_looked_at(marked: MarkedInstallation) -> None:
    routes = {rule.endpoint for rule in marked.run.app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    assert routes - marked.opened_routes == UNOPENED


def test_mail_of_every_kind_left_with_markers_in_it(marked: MarkedInstallation) -> None:
    subjects = [str(message_from_bytes(raw, policy=policy.default)["Subject"]) for raw in marked.mails.values()]
    for words in (
        "Confirm your subscription to",
        "You’re invited to the",
        "Correction to No. ",
        "A message from the contact form",
    ):
        assert any(subject.startswith(words) for subject in subjects), words
    assert sum(bool(KEY.search(raw.decode())) for raw in marked.mails.values()) == len(marked.mails)


@pytest.mark.chromium
def test_no_marker_runs_in_a_browser_that_no_policy_protects(marked: MarkedInstallation, browser: Browser) -> None:
    pages: dict[str, str | bytes] = {**marked.find_richest_pages(most=8)}
    pages |= {f"/mail/{number}": html for number, html in enumerate(marked.read_mail_pages())}
    client, ran = marked.run.client, list[str]()

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(SITE)
        if path in pages:
            route.fulfill(body=pages[path], content_type="text/html; charset=utf-8")
        elif route.request.method == "GET" and route.request.url.startswith(SITE):
            found = client.get(path)
            route.fulfill(status=found.status_code, body=found.data, content_type=found.content_type)
        else:
            route.abort()

    def note(dialog: Dialog) -> None:
        ran.append(dialog.message)
        dialog.dismiss()

    context = browser.new_context(bypass_csp=True)
    context.route("**/*", answer)
    page = context.new_page()
    page.on("dialog", note)
    for path in pages:
        page.goto(SITE + path)
        open_all_details(page)
        expect(page.locator("body")).to_contain_text("onerror=alert")
    assert ran == []
    # What would have been seen of one that is more than words.
    with page.expect_event("dialog"):
        page.set_content(make_marker("mk0000x"))
    context.close()


@pytest.mark.parametrize(("kind", "body"), [*list_plantable_forms("mk0001x")])
def test_what_is_more_than_a_word_is_found(kind: str, body: str) -> None:
    judge = MarkerJudge()
    judge.look_at_answer("there", kind, (), body.encode())
    assert judge.faults


@pytest.mark.parametrize("header", [("X-Injected", "1"), ("Location", "javascript:alert(1)"), ("X-Name", "a\r\nb")])
def test_a_header_that_is_more_than_a_word_is_found(header: tuple[str, str]) -> None:
    judge = MarkerJudge()
    judge.look_at_answer("there", "text/html", [header], b"<p>x</p>")
    assert judge.faults
