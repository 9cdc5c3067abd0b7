"""Every form of every page, read from its HTML: submitted as is, with hostile values in each field, and by the wrong people."""

import io
import random
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from digest.installation.audited_actions import Role
from digest.web.auth.route_rules import ROUTE_RULES
from tests.web.admin.conftest import move_settings
from tests.web.conftest import WebSetup
from tests.web.desk.page_forms import (
    ENDINGS,
    NOT_SENT,
    NOWHERE,
    SENT,
    SIGN_IN,
    SITE,
    FormRun,
    FormWorld,
    PageForm,
    build_form_world,
    fill_in,
)
from tests.web.desk.sample_week import SampleWeek
from tests.web.test_fuzzed_routes import path_of

HOSTILE = (
    "", " ", "\0", "\r\nBcc: eve@example.org", "'\"><img src=x onerror=alert(1)>", "{{7*7}}${7*7}", "../../../etc/passwd", "%00%", "-1",
    "0", "9" * 40, "1e309", "NaN", "2026-02-30", "9999-12-31T23:59:59", "javascript:alert(1)", "http://[::1", "a@b@c", "\U0001f600" * 9, "\ud7ff\u202e",
    "null", "[]", '{"$gt": ""}', "' OR 1=1 --", "x" * 3000,
)  # fmt: skip
# Where a field names a host that is asked: what nobody can look up, so that no test waits for the network.
ASKS_HOSTS = frozenset({"admin.preview_new_source", "admin.submit_new_source", "stories.show_story_found_at_url"})
NO_HOSTS = tuple(value for value in HOSTILE if value[:1] in {"", " ", "\0", "\r", "'", "{"} or ":" in value)
QUERY_NAMES = (
    "open",
    "panel",
    "about",
    "tab",
    "view",
    "show",
    "filter",
    "moment",
    "q",
    "since",
    "before",
    "page",
    "edition",
    "state",
    "what",
    "day",
    "ask",
)
# What other forms need is there until then: these are sent at the very end.
DEFERRED = frozenset(
    {
        "admin.remove_suppression_upload",
        "admin.remove_upload",
        "admin.stop_search",
        "auth.sign_out",
        "auth.end_session",
        "auth.end_other_sessions",
    }
)
REFUSED = {400, 403, 404}


@pytest.fixture
def forms(week: SampleWeek, tmp_path: Path) -> FormWorld:
    """Give the sample's week with readers, an edition that was sent, doubts, an upload, accounts and a link of each kind."""
    text = resources.files("digest").joinpath("sample/digest.toml").read_text("utf-8")
    source = f'\n[[sources]]\nurl = "{NOWHERE}"\nname = "Nowhere"\npublisher = "Nowhere"\n'
    setup = move_settings(WebSetup(week.installation, week.app, 0), tmp_path, text + source, DIGEST_MAIL_URL="outbox:")
    setup.app.config["WTF_CSRF_ENABLED"] = False  # the token has tests of its own
    return build_form_world(setup, week.name)


class HostileRun(FormRun):
    """A walk that sends each form with hostile values."""

    def __init__(self, setup: WebSetup) -> None:
        super().__init__(setup, left_out=DEFERRED | NOT_SENT.keys())
        self.random = random.Random("forms")

    def send_all(self) -> None:
        """Send what waits: hostile words first, then each form as it is meant; what that leads to is looked at as well."""
        while self.waiting:
            # What ends things comes last.
            forms = sorted(self.waiting, key=lambda form: form.endpoint in ENDINGS)
            self.waiting = []
            for form in forms:
                self.send(
                    form,
                    [
                        (n, v if kind in {"hidden", "button"} else self.hostile(form.endpoint, kind))
                        for n, v, kind in form.fields
                    ],
                )
                if form.fields and form is self.sent[form.endpoint]:
                    spoilt = self.random.randrange(len(form.fields))
                    self.send(
                        form,
                        [
                            (n, self.hostile(form.endpoint, k) if i == spoilt else fill_in(form.endpoint, n, v, k))
                            for i, (n, v, k) in enumerate(form.fields)
                        ],
                    )
            for form in forms:
                answer = self.send(form, [(n, fill_in(form.endpoint, n, v, kind)) for n, v, kind in form.fields])
                self.read(form.path, answer)
                goal = urlsplit(urljoin(SITE + form.path, answer.headers.get("Location", form.path)))
                self.walk(goal.path + (f"?{goal.query}" if goal.query else ""))

    def send_without_page(self, paths: list[str]) -> None:
        """Send what no page has shown: empty, with hostile words, and with the values that such forms mostly have."""
        names = ("edit", "moment", "seq", "reason", "name", "password", "url", "code", "most", "years")
        for path in paths:
            form = PageForm(
                self.app.url_map.bind("").match(path, "POST")[0], path, tuple((n, "1", "text") for n in names)
            )
            self.send(form, [])
            self.send(form, [(name, self.hostile(form.endpoint, kind)) for name, _, kind in form.fields])
            self.send(form, [(name, value) for name, value, _ in form.fields])

    def refuse_others(self) -> None:
        """See that each form of the staff is refused to strangers, and each of an admin to an editor."""
        editor = self.setup.signed_in_client("editor")
        for endpoint, form in self.sent.items():
            role = ROUTE_RULES[endpoint].role
            if role is not None:
                answer = self.send(form, [], self.setup.client)
                assert answer.status_code == 401 or SIGN_IN in answer.headers.get("Location", ""), form.path
            if role is Role.ADMIN:
                assert self.send(form, [], editor).status_code == 403, form.path

    def hostile(self, endpoint: str, kind: str) -> Any:
        value = self.random.choice(NO_HOSTS if endpoint in ASKS_HOSTS else HOSTILE)
        if kind == "file":
            return io.BytesIO(value.encode("utf-8", "replace")), value.replace("\0", "") or "a"
        return value


# Routes that this walk does not get into, and which test does.
NOT_REACHED = {
    "breaking_news.send_now": "breaking news has to be approved: tests/web/desk/sending/test_breaking_news_pages.py",
    "sending.drop_set_aside_emails": "a stop rule has to have set emails aside: tests/web/desk/sending",
    "sending.send_set_aside_emails": "a stop rule has to have set emails aside: tests/web/desk/sending",
    "hooks.receive_events": "a provider's signature is asked for: tests/web/hooks",
    "auth.submit_passkey": "an authenticator has to make the passkey: tests/web/auth",
    "auth.submit_new_password": "an app's code of this minute is asked for: tests/web/auth",
    "admin.remove_suppression": "a suppressed address is asked for: tests/web/admin/subscribers/test_list_pages.py",
    "admin.submit_new_source": "a site has to answer: tests/web/admin/test_sources.py",
    "admin.undo_source_move": "a source's URL has to have changed: tests/web/admin/test_sources.py",
    "admin.follow_moved_source": "a source has to have moved: tests/web/admin/test_sources.py",
    "signup.submit_confirmation": "a sign-up has to be processed: tests/web/test_subscriber_life.py",
    "signup.save_first_preferences": "a sign-up has to be confirmed: tests/subscribers/pages/test_first_choices.py",
    "subscribers.stop_address_change": "an address has to be changed: tests/subscribers/pages/test_stopped_address_change.py",
    "subscribers.turn_off_breaking_news": "breaking news has to be offered: tests/subscribers/pages/test_breaking_news.py",
    "auth.request_sign_in_link": "a sign-in has to be old: tests/web/admin/test_accounts.py",
    "admin.submit_preferences": "no hostile text is a day: tests/web/admin/subscribers/test_changed_preferences.py",
    "admin.correct_address": "no hostile text is an address: tests/web/admin/subscribers/test_corrected_addresses.py",
    "admin.open_subscriber": "no hostile text is a number: tests/web/admin/subscribers/test_subscriber_pages.py",
    "sending.suppress_refused": "a mailbox has to be full: tests/web/desk/sending/test_refusals.py",
    "admin.undo_import": "an import has to be finished: tests/web/admin/subscribers/test_import_pages.py",
}


def test_every_post_route_is_reached_and_nothing_is_answered_with_a_fault_of_ours(forms: FormWorld) -> None:
    """Beyond the checks of who asks, of the token and of what there is: so that hostile values come to the views themselves."""
    setup = forms.setup
    run = HostileRun(setup)
    run.walk("/subscribe", "/preferences", "/contact", SIGN_IN, *forms.link_paths, client=setup.client)
    starts = (
        "/desk/",
        "/admin/readers",
        "/admin/import",
        "/admin/deliveries",
        f"/admin/readers/{setup.ada}",
        "/desk/sent",
    )
    run.walk(*starts)
    assert len(run.waiting) > 90
    run.send_all()
    # What stands on a page now that did not before.
    suppressions = "/admin/readers/suppressions"
    links = run.read(suppressions, run.client.get(suppressions))
    uploaded = next(link for link in links if link.startswith(f"{suppressions}/"))
    run.paths["admin.show_suppression_upload"] = uploaded
    for path in (f"/desk/editions/{forms.edition}/history", "/desk/security", "/admin/import", uploaded):
        run.read(path, run.client.get(path))
    run.send_all()
    run.send_without_page(paths_without_form(run, forms))
    run.refuse_others()
    routes = {rule.endpoint for rule in run.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    refused = {endpoint for endpoint in routes if not run.answers[endpoint].keys() - REFUSED}
    assert refused == NOT_REACHED.keys() | NOT_SENT.keys()


def paths_without_form(run: FormRun, forms: FormWorld) -> list[str]:
    """Give where forms go to that no page of this installation shows, or that a script sends."""
    draft, sent, tokens = f"/desk/editions/{forms.edition}", f"/desk/editions/{SENT}", forms.tokens
    acts = ("/presence", "/update", "/void", "/pause", "/cancel", "/hold", "/history/undo", "/history/bring-back")
    listed, suppressed = run.paths["admin.show_upload"], run.paths["admin.show_suppression_upload"]
    found, log = run.paths["admin.show_search"], run.paths["admin.show_log_evidence"]
    return [
        *(draft + act for act in acts),
        *(
            f"{sent}/corrections/1",
            f"{draft}/test/address",
            f"/admin/deliveries/{SENT}/silence",
            "/admin/sources",
            "/admin/readers/ask",
            "/admin/readers/silent",
        ),
        *("/admin/settings/alerts/test", f"{found}/addresses", f"{found}/stop", log),
        *(
            f"{listed}/rejected",
            f"{listed}/outcomes",
            f"{listed}/stop",
            f"{listed}/remove",
            "/admin/import/unfinished/1/abandon",
            f"{suppressed}/stop",
            f"{suppressed}/remove",
        ),
        *(
            "/desk/confirm",
            "/desk/confirm/form/discard",
            "/desk/confirm/passkey",
            "/desk/security/seen",
            "/desk/security/recovery-codes",
        ),
        "/hooks/sendgrid",
        *("/desk/security/passkeys/1/rename", "/desk/security/passkeys/1/remove"),
        *("/desk/security/sessions/1/end", "/desk/security/sessions/end-others", "/desk/sign-out"),
        *(f"/confirm/{tokens['confirm']}", f"/u/{tokens['u']}/undo", f"/address/{tokens['address']}"),
    ]


def test_every_route_bears_hostile_paths_and_queries_by_each_of_its_methods(forms: FormWorld) -> None:
    generator = random.Random("routes")
    clients = {
        role: forms.setup.signed_in_client(role) if role else forms.setup.client for role in (None, "editor", "admin")
    }
    segments = [value for value in HOSTILE if value.strip("/") and len(value) < 400 and not value.startswith("..")]
    known = [forms.edition, SENT, "1", *forms.tokens.values()]
    asked = set()
    for rule in forms.setup.app.url_map.iter_rules():
        if rule.endpoint in NOT_SENT:
            continue
        for method in (*sorted(rule.methods or ()), "DELETE"):
            for role in (None, "admin") if method in {"GET", "POST"} else ("editor",):
                named = {name: generator.choice(segments if method == "GET" else known) for name in rule.arguments}
                query = {generator.choice(QUERY_NAMES): generator.choice(HOSTILE) for _ in range(3)}
                answer = clients[role].open(path_of(rule, named), method=method, query_string=query)
                assert answer.status_code < 500, (method, rule.rule, named, query)
                asked.add((rule.endpoint, method))
    assert len(asked) > 400
