"""Every page of editors and admins, in a home with 1,000,000 readers: `python -m benchmarks.pages`.

The pages are those of the route table, each asked for in rounds, as a member who is signed in would. Judged are the time until the
page is written (p99), the bytes that a browser gets at a first visit, and the queries that it took: not one more than in a home with
200 readers.
"""

import argparse
import html
import itertools
import logging
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from benchmarks.databases import DATABASE_KINDS, DATABASE_NAMES, fresh_database
from benchmarks.large_installation import (
    ADMIN,
    EDITOR,
    EDITS,
    LAST_SUBSCRIBER,
    InstallationSize,
    LargeInstallation,
    create_large_installation,
    open_large_installation,
    under_way,
)
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import KEYS, benchmark_settings
from benchmarks.selection import NOW
from benchmarks.sizes import FULL, QUICK, BenchmarkSize
from digest import logs
from digest.app.editing import editing_state
from digest.app.editions.count_cache import CountCache
from digest.app.editions.sample_emails import SUBSCRIBER_MAILS
from digest.installation.audited_actions import Role
from digest.store import staff, staff_sessions
from digest.store.engine import Database, open_database
from digest.web.app import create_app
from digest.web.auth.cookies import CookieScope
from digest.web.auth.route_rules import ROUTE_RULES
from digest.web.desk.outline.story_pool import story_anchor
from subscribers.address import read_address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.garbage_collection import freeze_long_lived_objects

MAX_P99_MS, MAX_PREVIEW_CPU_MS, MAX_ACTION_CPU_MS = 300.0, 100.0, 60.0  # milliseconds
MAX_PAGE_BYTES = 150_000
MAX_SEARCH_SECONDS = 10.0
FIRST_LOOKS = 10
GROWTH_CHARTS = 5
MAX_RENEWING_SECONDS = 300.0  # of a page that shows how far a search or a count is
# What a page shows besides its first view, by the page's endpoint: queries of its address.
VIEWS: Mapping[str, Sequence[str]] = {
    "desk.edition": (
        "",
        "?filter=all&tab=stories",
        "?q=theme1",
        "?start=100",
        "?open={story}",
        "?panel=merge&about={story}",
        "?panel=more&about={story}",
        "?panel=tray",
    ),
    "previews.show_preview": ("", "?view=aloud", "?view=text"),
    "admin.list_subscribers": (
        "",
        "?below={middle}",
        "?state=suppressed",
        "?state=paused",
        "?signup_source=hls.today",
        "?since=2026-11-01",
        "?part=most-read",
        "?part=topics:cybersecurity",
        "?frequency=monthly",
        "?domain={domain}",
        "?domain={domain}&state=paused&part=topics:cybersecurity&below={middle}",
        "?import=1",
        "?import=1&state=withdrawn&since=2026-08-01&until=2026-08-31",
    ),
    "admin.show_export_form": ("", "?domain={domain}&part=topics:cybersecurity"),
    "admin.list_delivery_recipients": (
        "",
        "?below={middle}",
        "?result=refused",
        "?result=skipped&below={middle}",
        "?result=complained",
        "?group={group}",
    ),
    "admin.list_deliveries": ("", "?edition={edition}"),
    "admin.show_audit_log": ("", "?what=keys", "?what=approvals", "?about={edition}", "?from=2024-11-01&to=2024-11-30"),
    "corrections.show_corrections": ("", "?story={corrected}"),
}
# What a page has its browser fetch of ours before all of it is seen. A frame is a page of its own, with its own weight.
OWN_FILE = re.compile(r'<(?:link rel="stylesheet" href|script src|img\b[^>]*? src)="(/[^"]+)"')
ADDRESS_PART = re.compile(r"<(?:[^<>]*:)?(\w+)>")  # of a rule


@dataclass(slots=True)
class PageTimes:
    """What one page took, by round: wall and CPU milliseconds; of the last round its bytes, those of its files, and its queries."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    page_octets: int = 0
    file_octets: int = 0
    queries: int = 0

    @property
    def octets(self) -> int:
        """What a browser gets at a first visit: the page, and its style sheets, scripts and pictures."""
        return self.page_octets + self.file_octets

    def quantile(self, percent: int) -> float:
        """Return the time in milliseconds that so many of a hundred rounds do not exceed."""
        return _quantile(self.wall_ms, percent)

    @property
    def cpu(self) -> float:
        """The CPU time of a round in milliseconds: the median."""
        return _quantile(self.cpu_ms, 50)


def _quantile(times: Iterable[float], percent: int) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@dataclass(slots=True)
class QueryCounter:
    """How many statements one thread sent to a database: what is counted in the background belongs to no page."""

    count: int = 0
    thread: int = field(default_factory=threading.get_ident)

    def listen(self, database: Database) -> None:
        """Count whatever this thread sends to a database from now on."""
        event.listen(database.engine, "before_cursor_execute", self._note_statement)

    def _note_statement(self, *_: object) -> None:
        self.count += threading.get_ident() == self.thread


@dataclass(frozen=True, slots=True)
class StaffPage:
    """One page: who asks for it, what results call it, and its address."""

    role: Role
    label: str
    path: str


class PageBench:
    """The pages of one home, with an editor and an admin who are signed in."""

    def __init__(self, home: LargeInstallation) -> None:
        self.home = home
        self._octets_by_file: dict[str, int] = {}
        self.missing: list[str] = []  # pages that this home cannot show, or whose addresses nothing here knows
        began = time.monotonic()
        clock = lambda: NOW + timedelta(seconds=time.monotonic() - began)  # noqa: E731 - of what is counted every few seconds
        self.app: Flask = create_app(home.installation, clock=clock)
        self.app.config["WTF_CSRF_ENABLED"] = False  # the forms' tokens would have to be read from each page
        self.queries = QueryCounter()
        self.queries.listen(home.installation.database)
        self.clients = {Role.EDITOR: self._sign_in(EDITOR), Role.ADMIN: self._sign_in(ADMIN)}
        freeze_long_lived_objects()  # as `digest serve` does once it has started

    def _sign_in(self, email: str) -> FlaskClient:
        installation, client = self.home.installation, self.app.test_client()
        with installation.database.write() as session:
            member = staff.require_staff_member(session, email)
            token = staff_sessions.begin_session(session, member, network="loopback", browser="Firefox", now=NOW)
        client.set_cookie(CookieScope.from_settings(installation.settings).session, token, domain="localhost")
        return client

    def list_pages(self) -> Iterator[StaffPage]:
        """List all pages of the staff that can be looked at, those of an edition for the draft and for the last that went out."""
        draft, departed = self._name_editions()
        both = [draft, departed]
        arguments, queries = self._list_arguments(draft, departed), self._query_arguments()
        for rule in sorted(self.app.url_map.iter_rules(), key=lambda rule: rule.rule):
            role = ROUTE_RULES[rule.endpoint].role
            if role is None or "GET" not in (rule.methods or ()):
                continue
            for given in arguments.get(rule.endpoint, both if rule.rule.startswith("/desk/editions/<name>") else [{}]):
                if rule.arguments - given.keys():
                    self.missing.append(rule.rule)
                    continue
                path = ADDRESS_PART.sub(lambda part: quote(given[part[1]]), rule.rule)  # noqa: B023 - called at once
                for query in VIEWS.get(rule.endpoint, ("",)):
                    label = path.replace(f"/{given['name']}", f"/{given['what']}") if "what" in given else rule.rule
                    yield StaffPage(role, label + query, path + query.format(**queries))

    def _name_editions(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the draft and the last edition that went out, as addresses and results (`what`) name them."""
        return ({"name": self.home.draft, "what": "(draft)"}, {"name": self.home.departed, "what": "(went out)"})

    def _list_arguments(
        self, draft: dict[str, str], departed: dict[str, str]
    ) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Return what stands in the addresses of pages, by endpoint, where it is not just each edition."""
        self._wait_until_still(Role.EDITOR, f"/desk/editions/{self.home.departed}/corrections/1")
        reader = {"number": str(self.home.reader)}
        with self.home.installation.database.read() as session:
            member = staff.require_staff_member(session, EDITOR)
        return {
            "admin.show_subscriber": [reader],
            "admin.confirm_subscriber_action": [reader | {"act": "erase"}],
            "admin.ask_address_access_reason": [reader],
            "admin.show_data_request_options": [reader],
            "admin.show_address_correction_form": [reader],
            "admin.show_preferences_form": [reader | {"form": "pause"}, reader | {"form": "preferences"}],
            "admin.show_import_undo": [{"batch": "1"}],
            "admin.list_delivery_recipients": [departed],
            "sending.ask_before_resending": [departed | {"chosen": "all"}],
            "sending.ask_before_suppressing": [departed | {"chosen": "no mailbox"}],
            "admin.show_search": [{"name": self._find_last_subscriber(), "what": "(a search)"}],
            "admin.show_member": [{"number": str(member.id)}],
            "admin.show_settings": [{"table": "schedule"}],
            "admin.show_source": [{"number": "1"}],
            "corrections.show_corrections": [departed],
            "corrections.show_correction_recipients": [departed | {"number": "1"}],
            "history.show_history": [draft],
            "history.show_past_state": [draft | {"seq": str(EDITS // 2)}],
            "sending.show_sending": [departed],
            "approvals.show_version": [departed | {"number": "1"}],
            "approvals.show_version_mail": [departed | {"number": "1"}],
            "gallery.show_sample_email": [{"key": SUBSCRIBER_MAILS[0].key}],
            "gallery.show_sample_email_frame": [{"key": SUBSCRIBER_MAILS[0].key}],
            "desk.show_edition_preview_frame": [
                one | {"view": view} for one in (draft, departed) for view in ("phone", "text", "inbox")
            ],
        }

    def _query_arguments(self) -> Mapping[str, str]:
        """Return what stands in the queries of addresses."""
        return {
            "story": self._anchor_story(1),
            "middle": str(self.home.reader // 2),
            "edition": self.home.departed,
            "corrected": quote(self.home.corrected, safe=""),
            "domain": make_domain_tag(KEYS, read_address(LAST_SUBSCRIBER)),
            "group": "no%20mailbox",
        }

    def _anchor_story(self, place: int) -> str:
        """Return the anchor of a featured story of the draft, by its place from 0."""
        state = editing_state.read_editing_state(self.home.installation, self.home.draft)
        return story_anchor(state.arrangement.sections["featured"][place].url)

    def _find_last_subscriber(self) -> str:
        """Look for an address among all, as an admin; return the name of the search when it is through."""
        fields = {"part": LAST_SUBSCRIBER.partition("@")[0], "why": "A reader asked"}
        path = self.clients[Role.ADMIN].post("/admin/readers/search", data=fields).location
        self._wait_until_still(Role.ADMIN, path)
        return path.rpartition("/")[2]

    def _wait_until_still(self, role: Role, path: str) -> None:
        """Wait until a page that shows the progress of something renews itself no more."""
        deadline = time.monotonic() + MAX_RENEWING_SECONDS
        while "Refresh" in self.clients[role].get(path).headers:
            if time.monotonic() > deadline:
                raise SystemExit(f"{path} renews itself for longer than {MAX_RENEWING_SECONDS} s")
            time.sleep(0.2)

    def measure_pages(self, rounds: int, pages: Sequence[StaffPage]) -> dict[str, PageTimes]:
        """Ask for each page once a round; the first round warms up and does not count."""
        shown = [page for page in pages if self._open_page(page, PageTimes())]
        self.missing += [page.label for page in pages if page not in shown]
        times = {page.label: PageTimes() for page in shown}
        for _ in range(rounds):
            for page in shown:
                self._open_page(page, times[page.label])
        return times

    def _open_page(self, page: StaffPage, times: PageTimes) -> bool:
        """Ask for a page; return whether it is there: some lead elsewhere, or only stand while something is set up."""
        with self._timing(times):
            answer = self.clients[page.role].get(page.path)
        times.page_octets = len(answer.data)
        times.file_octets = self._weigh_files(page.role, answer.text) if answer.mimetype == "text/html" else 0
        if answer.status_code >= 500:
            raise SystemExit(f"{page.path} answers {answer.status_code}: {answer.text[:500]}")
        return answer.status_code == 200

    def _weigh_files(self, role: Role, page: str) -> int:
        """Return how many bytes of style sheets, scripts and pictures of ours a page has its browser fetch, as they are transferred."""
        paths = {html.unescape(path) for path in OWN_FILE.findall(page)}
        for path in paths - self._octets_by_file.keys():
            answer = self.clients[role].get(path, headers={"Accept-Encoding": "gzip"})
            self._octets_by_file[path] = len(answer.data)
        return sum(self._octets_by_file[path] for path in paths)

    @contextmanager
    def _timing(self, times: PageTimes) -> Iterator[None]:
        queries, cpu, wall = self.queries.count, time.process_time(), time.perf_counter()
        yield
        times.wall_ms.append((time.perf_counter() - wall) * 1e3)
        times.cpu_ms.append((time.process_time() - cpu) * 1e3)
        times.queries = self.queries.count - queries

    def measure_first_looks(self, rounds: int, page: StaffPage) -> PageTimes:
        """Ask for a page as if nothing had been counted before: as after an act, or after nobody looked for a while."""
        times, context = PageTimes(), self.app.extensions["digest"]
        for _ in range(rounds):
            self.app.extensions["digest"] = replace(context, recent_counts=CountCache())
            self._open_page(page, times)
        self.app.extensions["digest"] = context
        return times

    def measure_search(self, pages: Sequence[StaffPage]) -> tuple[float, PageTimes]:
        """Search all addresses for a part that nobody has; return the seconds, and the times of other pages meanwhile."""
        others, times = itertools.cycle(pages), PageTimes()
        fields = {"part": "nobody.has.this", "why": "A reader asked"}
        began, admin = time.monotonic(), self.clients[Role.ADMIN]
        path = admin.post("/admin/readers/search", data=fields).location
        while "Refresh" in admin.get(path).headers:
            self._open_page(next(others), times)
        return time.monotonic() - began, times

    def measure_preview(self, rounds: int) -> PageTimes:
        """Write a headline at the desk and read the mail's preview, as the page does it when a field is left."""
        times, client, name, anchor = PageTimes(), self.clients[Role.EDITOR], self.home.draft, self._anchor_story(0)
        for n in range(rounds):
            words = f"Ports reopen, as written in round {n}"
            with self._timing(times):
                saved = client.post(f"/desk/editions/{name}/story/{anchor}", data={"headline": words})
                shown = client.get(f"/desk/preview/{name}/phone")
            if saved.status_code != 303 or words not in shown.text:
                raise SystemExit(f"an edit answers {saved.status_code}, and the preview does not show it")
        return times

    def measure_action(self, rounds: int) -> PageTimes:
        """Move a story to and fro, and read what changed, as the page's script does."""
        times, client, name = PageTimes(), self.clients[Role.EDITOR], self.home.draft
        headers = {"Accept": "application/json"}
        state = editing_state.read_editing_state(self.home.installation, name)
        anchor, seq = self._anchor_story(1), state.last_seq
        for n in range(rounds):
            form = {"act": f"{'down' if n % 2 else 'up'} {anchor}", "seq": str(seq)}
            with self._timing(times):
                answer = client.post(f"/desk/editions/{name}/act", data=form, headers=headers)
            changes = answer.get_json() or {}
            if "html" not in changes:
                raise SystemExit(f"an action answers {answer.status_code}: {answer.text[:500]}")
            seq = changes["seq"]
        return times

    def require_full_growth(self) -> None:
        """End where Growth lacks one of its charts: an empty page is no measure of it."""
        charts = self.clients[Role.ADMIN].get("/admin/growth").text.count("<svg")
        if charts < GROWTH_CHARTS:
            raise SystemExit(f"Growth shows {charts} of its {GROWTH_CHARTS} charts: this home lacks what they draw")


def count_queries_of_small_home(kind: str) -> dict[str, int]:
    """Return how many queries each page takes in a home with little in it, by label."""
    with lend_home(QUICK, kind, None) as small:
        bench = PageBench(small)
        times = bench.measure_pages(1, list(bench.list_pages()))
        return {label: one.queries for label, one in times.items()}


@contextmanager
def lend_home(size: BenchmarkSize, kind: str, kept: Path | None) -> Iterator[LargeInstallation]:
    """Lend a home of a size on a database of a kind; one on SQLite that was kept in a folder is taken as it is."""
    kept = kept if kind == "sqlite" else None
    with ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digest-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        url = stack.enter_context(fresh_database(kind, folder))
        settings = benchmark_settings(folder).model_copy(update={"database_url": url})
        if kept and settings.key_file.exists():
            home = open_large_installation(settings, open_database(url))
        else:
            subscribers, articles, past = size.page_home
            home = create_large_installation(settings, InstallationSize(subscribers, articles, past))
        stack.callback(home.installation.database.close)
        yield home


def measure_kind(sheet: ResultSheet, size: BenchmarkSize, kind: str, kept: Path | None = None) -> dict[str, PageTimes]:
    """Measure all pages on one kind of database, and put what they took beside the bars; return all times, by label."""
    few = {} if size.page_home == QUICK.page_home else count_queries_of_small_home(kind)
    with lend_home(size, kind, kept) as home:
        bench = PageBench(home)
        bench.require_full_growth()
        pages = list(bench.list_pages())
        times = bench.measure_pages(size.page_rounds, pages)
        preview, action = bench.measure_preview(size.page_rounds), bench.measure_action(size.page_rounds)
        search_seconds, meanwhile = bench.measure_search([page for page in pages if page.label in times])
        sending = list_pages_of_sending(home.departed)
        with under_way(home.installation.database, home.departed):
            times |= bench.measure_pages(size.page_rounds, sending)
            first_looks = bench.measure_first_looks(min(size.page_rounds, FIRST_LOOKS), sending[0])
    if bench.missing:
        sheet.print_note(f"not measured: {', '.join(dict.fromkeys(bench.missing))}")
    add_results(sheet, size, DATABASE_NAMES[kind], times, preview, few)
    sheet.add_result(
        f"an action on the edition's page, with what it changed, {size.page_home[1]:,} articles, {DATABASE_NAMES[kind]}",
        f"p50 {action.quantile(50):.0f}, p99 {action.quantile(99):.0f} ms ({action.cpu:.0f} ms of CPU)",
        f"<= {MAX_ACTION_CPU_MS:.0f} ms of CPU",
        bar_met=action.cpu <= MAX_ACTION_CPU_MS,
    )
    add_result_of_search(sheet, size, DATABASE_NAMES[kind], search_seconds, meanwhile)
    sheet.add_result(
        f"the first look at {sending[0].label}, and each after an act, {DATABASE_NAMES[kind]}",
        f"p50 {first_looks.quantile(50):.0f}, longest {max(first_looks.wall_ms):.0f} ms",
    )
    return times


def list_pages_of_sending(edition: str) -> list[StaffPage]:
    """List the pages that count an edition that goes out."""
    return [
        StaffPage(Role.EDITOR, "/desk/editions/(goes out)/sending", f"/desk/editions/{edition}/sending"),
        StaffPage(Role.EDITOR, "/desk/editions/(goes out)", f"/desk/editions/{edition}"),
        StaffPage(Role.EDITOR, "/desk/sent, while one goes out", "/desk/sent"),
        StaffPage(Role.ADMIN, "/admin/deliveries, while one goes out", f"/admin/deliveries?edition={edition}"),
    ]


def add_result_of_search(
    sheet: ResultSheet, size: BenchmarkSize, database: str, seconds: float, meanwhile: PageTimes
) -> None:
    """Put what a search of all addresses took beside its bars."""
    sheet.add_result(
        f"a search by part of an address, {size.page_home[0]:,} readers, {database}",
        f"{seconds:.1f} s",
        f"<= {MAX_SEARCH_SECONDS:.0f} s",
        bar_met=seconds <= MAX_SEARCH_SECONDS,
    )
    if meanwhile.wall_ms:
        sheet.add_result(
            "the same: other pages meanwhile",
            f"p50 {meanwhile.quantile(50):.0f}, p99 {meanwhile.quantile(99):.0f} ms of {len(meanwhile.wall_ms)}",
            f"p99 < {MAX_P99_MS:.0f} ms",
            bar_met=meanwhile.quantile(99) < MAX_P99_MS,
        )


def add_results(
    sheet: ResultSheet,
    size: BenchmarkSize,
    database: str,
    times: Mapping[str, PageTimes],
    preview: PageTimes,
    few: Mapping[str, int],
) -> None:
    """Put what all pages took beside the bars, the slowest and the heaviest by name."""
    subscribers, articles, past = size.page_home
    where = f"with {subscribers:,} readers, {articles:,} articles and {past} editions, {database}"
    slowest = max(times, key=lambda label: times[label].quantile(99))
    one = times[slowest]
    sheet.add_result(
        f"{len(times)} pages of desk and admin {where}: the slowest, {slowest}",
        f"p50 {one.quantile(50):.0f}, p99 {one.quantile(99):.0f} ms ({one.cpu:.0f} ms of CPU)",
        f"p99 < {MAX_P99_MS:.0f} ms",
        bar_met=one.quantile(99) < MAX_P99_MS,
    )
    every = [ms for page in times.values() for ms in page.wall_ms]
    sheet.print_note(f"of all: p50 {_quantile(every, 50):.0f}, p99 {_quantile(every, 99):.0f} ms")
    heaviest = max(times, key=lambda label: times[label].octets)
    sheet.add_result(
        f"the same: the heaviest at a first visit, {heaviest}",
        f"{times[heaviest].octets / 1000:.0f} KB ({times[heaviest].page_octets / 1000:.0f} KB without its styles, scripts and pictures)",
        f"< {MAX_PAGE_BYTES / 1000:.0f} KB",
        bar_met=times[heaviest].octets < MAX_PAGE_BYTES,
    )
    grown = {label: times[label].queries for label, count in few.items() if times[label].queries > count}
    most = max(times, key=lambda label: times[label].queries)
    sheet.add_result(
        "the same: queries",
        f"{times[most].queries} at most ({most}); {len(grown)} pages take more than with {QUICK.page_home[0]} readers",
        "none takes more",
        bar_met=not grown,
    )
    for label, count in grown.items():
        sheet.print_note(f"{label}: {count} queries in place of {few[label]}")
    sheet.add_result(
        f"from an edit to the mail's preview {where}",
        f"p50 {preview.quantile(50):.0f}, p99 {preview.quantile(99):.0f} ms ({preview.cpu:.0f} ms of CPU)",
        f"<= {MAX_PREVIEW_CPU_MS:.0f} ms of CPU",
        bar_met=preview.cpu <= MAX_PREVIEW_CPU_MS,
    )


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure on each kind of database."""
    for kind in size.page_databases:
        measure_kind(sheet, size, kind)


def _run_alone() -> None:
    """Measure as the command line asks for, and print every page."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    reader.add_argument("--database", choices=DATABASE_KINDS, action="append", help="both without")
    reader.add_argument("--quick", action="store_true", help="a small home: it tries the code and judges nothing")
    reader.add_argument("--rounds", type=int, help="how often each page is asked for")
    reader.add_argument(
        "--keep", type=Path, help="make the home on SQLite in this folder, or take the one that is there"
    )
    arguments = reader.parse_args()
    logs.configure_logging(logging.WARNING)
    size = QUICK if arguments.quick else FULL
    if arguments.rounds:
        size = replace(size, page_rounds=arguments.rounds)
    sheet = ResultSheet(judges_bars=not arguments.quick)
    for kind in arguments.database or DATABASE_KINDS:
        times = measure_kind(sheet, size, kind, arguments.keep and arguments.keep / kind)
        print("\n   p50   p99   CPU ms  queries     KB   alone  page")
        for label, one in sorted(times.items(), key=lambda item: -item[1].quantile(99)):
            print(
                f"{one.quantile(50):6.0f}{one.quantile(99):6.0f}{one.cpu:9.0f}{one.queries:9}"
                f"{one.octets / 1000:7.0f}{one.page_octets / 1000:7.0f}  {label}"
            )
    sys.exit(0 if sheet.all_bars_met else 1)


if __name__ == "__main__":
    _run_alone()
