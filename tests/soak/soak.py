"""Long runs that prove on a large scale what the tests prove on a small one: `make soak`. The results are in benchmarks/soak.md.

    python -m tests.soak.soak [--kills 32] [--subscribers 6000] [--messages 10000] [--networks 10000] [--fuzz-seconds 300] [--sends 10000] [--seed N]
    python -m tests.soak.soak --replay "smtp, 8 connections" SQLite --seed N    one line of the table again, nothing written

Every benchmark in tiny sizes, kills at random moments of a large send over each way out and on each database, every message
of a large send looked at, sign-ups from 10,000 networks, random documents for every parser, random sends (`random_sends`), four workers that are killed while
they send (`worker_kills`), simulated years (`simulated_year`), an operator's drills (`operations`), outages (`outages`), and the memory of
`digest serve` (`served_pages`).
"""

import argparse
import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from sqlalchemy import select

from benchmarks.sample_installation import (
    EDITION_NAME,
    KEYS,
    benchmark_settings,
    create_populated_database,
    create_ready_database,
)
from digest import logs
from digest.deliver.compose.dkim import load_signer
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.installation.opened_installation import Installation
from digest.settings import Settings, UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from tests.benchmark_bars import check_printed_bars, run_quick_benchmarks
from tests.deliver.kill_harness import (
    SendRoute,
    kill_at_random,
    max_doubts_in_vain,
    open_killable_send,
    sendgrid_route,
    smtp_route,
    subscriber_number,
)
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite
from tests.deliver.sent_message_checks import SentMessageChecker, unsubscribe_and_check
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.own_postgresql import run_own_postgresql
from tests.soak.document_fuzz import fuzz_documents
from tests.soak.operations import record_drills
from tests.soak.outages import record_outages
from tests.soak.random_sends import RUNS, record_random_sends
from tests.soak.result_page import describe_origin, write_section
from tests.soak.served_pages import record_served_pages
from tests.soak.simulated_year import DATABASES, simulate_years
from tests.soak.worker_kills import KILL_INTERVAL, RATE_LIMIT, SUBSCRIBERS, record_result, run_worker_kills
from tests.soak.year_plan import ZONES
from tests.soak.year_results import record_years
from tests.subscribers.pages.flooded_site import FloodedSite
from tests.subscribers.pages.signup_crowd import CrowdResult, list_crowd_networks, send_in_a_crowd

ROUTES = (smtp_route(50), smtp_route(8), sendgrid_route(100), smtp_route(1))
RECEIVER_DELAYS = {"smtp": 0.0, "sendgrid": 0.005}  # seconds that the receiver takes, else it is all over too soon
UNSUBSCRIBE_CLICKS = 50
KILLED_SUBSCRIBERS, KILLS = 6_000, 32  # of each send that is killed, as benchmarks/soak.md has them


@dataclass(frozen=True)
class KilledSendResult:
    """What came of one send that was killed again and again: it was held to account after every kill."""

    route_name: str
    database: str
    subscribers: int
    seed: int
    in_doubt_per_kill: tuple[int, ...]  # how many each kill left in doubt
    max_in_doubt: int  # and how many it may
    in_doubt_in_vain: int  # of those in doubt, how many had got nothing
    seconds: float

    @property
    def table_row(self) -> str:
        """A line of the table."""
        cells = (
            self.route_name,
            self.database,
            f"{self.subscribers:,}",
            str(len(self.in_doubt_per_kill)),
            str(self.seed),
            "0",  # anything else would have ended the run
            "0",
            f"{sum(self.in_doubt_per_kill):,}",
            f"{self.in_doubt_in_vain:,}",
            f"{max(self.in_doubt_per_kill)} of {self.max_in_doubt}",
            f"{self.seconds:.0f}",
        )
        return f"| {' | '.join(cells)} |"


TABLE_HEAD = """\
| provider | database | subscribers | kills | seed | lost | repeated | uncertain | of these, not delivered | uncertain after one kill, of at most | seconds |
|---|---|---|---|---|---|---|---|---|---|---|"""


def run_killed_send(
    route: SendRoute, database: str, prepared: PreparedDatabase, kills: int, seed: int
) -> KilledSendResult:
    """Kill one send so often, and see that nobody is lost and nobody got it twice."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        home = Path(folder)
        with open_killable_send(
            route, home, prepared.copy_into(home), prepared.subscribers, RECEIVER_DELAYS[route.kind]
        ) as at:
            in_doubt = kill_at_random(at, kills, random.Random(seed))
            at.finish_send()
            doubts = list(at.delivery_states().values()).count(DeliveryState.UNCERTAIN)
            assert doubts == sum(in_doubt), "a doubt that no kill explains"
            in_vain = at.count_doubts_in_vain()
            if route.kind == "smtp":
                assert in_vain <= max_doubts_in_vain(route, kills), f"{in_vain} in doubt had got nothing"
    spent = time.monotonic() - began
    per_kill = tuple(in_doubt)
    return KilledSendResult(
        route.name, database, prepared.subscribers, seed, per_kill, route.max_in_doubt, in_vain, spent
    )


def replay_killed_send(route_name: str, database: str, subscribers: int, kills: int, seed: int) -> None:
    """Do one line of the table again and print it; raise `SystemExit` where no line is called so."""
    routes = {route.name: route for route in ROUTES}
    with prepare_databases(subscribers) as prepared:
        if route_name not in routes or database not in prepared:
            raise SystemExit(f"--replay takes one of {sorted(routes)} and one of {sorted(prepared)}")
        print(run_killed_send(routes[route_name], database, prepared[database], kills, seed).table_row)


@contextmanager
def prepare_databases(subscribers: int) -> Iterator[dict[str, PreparedDatabase]]:
    """Make the people once on each database."""
    with TemporaryDirectory(prefix="digest-soak-") as folder, run_own_postgresql() as server:
        files = Path(folder) / "sqlite"
        files.mkdir()
        yield {
            "SQLite": prepare_sqlite(files, subscribers, kilobytes=4),
            "PostgreSQL": prepare_postgresql(Path(folder), server.url, subscribers, kilobytes=4),
        }


def check_messages(message_count: int) -> float:
    """Send so many signed messages and look at each of them; give the seconds that it took."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = _signing_settings(Path(folder))
        with closing(create_ready_database(settings, message_count, kilobytes=8)) as database:
            box = RecordingHandler()
            with run_smtp_server(box) as port:
                _send_edition(database, settings, f"smtp://127.0.0.1:{port}?starttls=off&connections=8")
            assert len(box.messages) == message_count
            checker = _message_checker(database, settings, [to for _, (to,), _ in box.messages])
            assert {checker.check_message(*received) for received in box.messages} == set(range(1, message_count + 1))
            unsubscribe_and_check(
                Installation(settings, database),
                KEYS,
                range(1, message_count + 1, max(1, message_count // UNSUBSCRIBE_CLICKS)),
            )
    return time.monotonic() - began


def try_benchmarks() -> None:
    """Run every part of the benchmarks in tiny sizes, and see that each result is printed beside its bar."""
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        page = Path(folder) / "page.md"
        check_printed_bars(run_quick_benchmarks("--table", str(page)), page.read_text("utf-8"))


def check_signup_crowd(networks: int) -> CrowdResult:
    """Send sign-up forms from so many networks, and people on quiet networks among them, who are emailed within a minute."""
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = benchmark_settings(Path(folder))
        with closing(create_populated_database(settings, 0)) as database:
            installation = SimpleNamespace(install=Installation(settings, database), database=database)
            result = send_in_a_crowd(FloodedSite(installation, {"proxies": 1}), list_crowd_networks(networks))
    assert result.emailed_people == result.people, result
    assert result.longest_wait <= timedelta(minutes=1), result
    assert result.most_emails_to_a_domain <= UsageLimitSettings().signups_per_domain, result
    return result


def _signing_settings(home: Path) -> Settings:
    key = rsa.generate_private_key(65537, 2048)
    file = home / "dkim.pem"
    file.touch(mode=0o600)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*form))
    signed = {"dkim_domain": "news.example.org", "dkim_selector": "one", "dkim_key_file": file}
    return benchmark_settings(home).model_copy(update=signed)


def _send_edition(database: Database, settings: Settings, url: str) -> None:
    with closing(open_provider(settings.model_copy(update={"mail_url": SecretStr(url)}))) as provider:
        report = run_edition(database, EDITION_NAME, provider, KEYS, settings, clock=lambda: datetime.now(UTC))
    assert report.delivery_counts.open == 0


def _message_checker(database: Database, settings: Settings, addresses: list[str]) -> SentMessageChecker:
    signer = load_signer(settings)
    assert signer is not None
    with database.read() as session:
        rows = session.execute(select(Delivery.id, Delivery.person)).all()
    numbers = {address: subscriber_number(address) for address in addresses}
    return SentMessageChecker(KEYS, signer, numbers, {row[0]: row[1] for row in rows})


KILLS_SECTION = """\
A process that sends is killed (SIGKILL) at random moments of a whole send, and a new one continues each time. The receiver
is a separate process that writes down what it accepts before it answers. After **every** kill, the delivery counts are
compared with its record: they balance, no one was accepted twice, everyone recorded as accepted has the email, and no one who
has it is recorded as waiting. At the end, every delivery is accepted or listed as uncertain. A seed repeats the same moments, as far
as machines allow: `python -m tests.soak.soak --replay "smtp, 8 connections" SQLite --subscribers {subscribers} --kills {kills} --seed N`.

{table}

"Uncertain" messages had their final dot, or their request was in progress, and no answer when a process died. It can't be known
whether they arrived, so they aren't sent again automatically. A kill leaves at most one per connection (SMTP) or one batch (SendGrid).
The run file resolves the other claimed messages ([0028](../docs/decisions/0028-the-runs-file.md)). Over SMTP, at most one in a hundred killed
connections may leave an uncertain message that never arrived. Processes that are stopped past their lease, two of them on one database, a
copied folder, and a full disk are tested in `test_stopped_processes.py` and `claims/test_run_progress_file.py` (`tests/deliver/send`).
"""


MESSAGES_SECTION = """\
{messages:,} signed messages of one send over 8 connections, each checked, in {seconds:.0f} seconds: one recipient; the limits of RFC
5321, 5322, 2045, and 2047; each header field once; the List-* fields; DKIM, verified by dkimpy, covering List-Unsubscribe and
List-Unsubscribe-Post; this person's own token and return path; and no address but the recipient's own in any byte, including
the decoded parts. {clicks} links were clicked: each unsubscribed its own subscriber and no one else.
"""


CROWD_SECTION = """\
Sign-up forms from {networks:,} networks on a simulated clock, 20 per second: half from the /48s of five IPv6 /32s, half from the
/24s of IPv4 /16s, 20 in each. Their addresses are at subdomains of one domain, at a large mailbox provider, and at other domains. {people} people
on quiet networks sign up among them and an hour later. Answers to the crowd: {statuses}.
All {people} people were emailed, the last one after {wait:.0f} seconds. {emails:,} emails were sent, at most {most} to one registered domain.
"""


DOCUMENTS_SECTION = """\
Documents for every parser, cut, spliced, and repeated at random, while the same process serves its pages. Feeds, calendars, pages, and
images are parsed as when collecting, in child processes, whose limits end documents that take too long. Other outside documents
are parsed in the process itself, within two seconds of processor time. A parser can reject a document only with its own error.

{table}
"""


def main() -> None:
    """Run it all; the page is written after each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--subscribers", type=int, default=KILLED_SUBSCRIBERS)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--fuzz-seconds", type=float, default=300.0)
    parser.add_argument("--sends", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--replay", nargs=2, metavar=("ROUTE", "DATABASE"), help="a line of the table, with its --seed")
    arguments = parser.parse_args()
    logs.configure_logging(logging.WARNING)  # a line for each answered page would hide the results
    if arguments.replay:
        route_name, database = arguments.replay
        replay_killed_send(route_name, database, arguments.subscribers, arguments.kills, arguments.seed)
        return
    origin = describe_origin()
    record_drills(origin, _print_progress)
    _print_progress("a year of outages …")
    record_outages(origin)
    _print_progress("pages of 'digest serve' …")
    record_served_pages(origin)
    _print_progress("benchmarks in tiny sizes …")
    try_benchmarks()
    _print_progress(f"{arguments.messages:,} messages …")
    seconds = check_messages(arguments.messages)
    looked_at = MESSAGES_SECTION.format(messages=arguments.messages, seconds=seconds, clicks=UNSUBSCRIBE_CLICKS)
    write_section("Messages", looked_at, origin)
    _print_progress(f"sign-ups from {arguments.networks:,} networks …")
    write_section("Sign-ups", check_signup_crowd(arguments.networks).describe(CROWD_SECTION), origin)
    _print_progress(f"random documents for {arguments.fuzz_seconds:.0f} s …")
    fuzzed = fuzz_documents(arguments.fuzz_seconds, arguments.seed)
    assert not fuzzed.failures, "\n".join([fuzzed.table, *fuzzed.failures])
    write_section("Documents", DOCUMENTS_SECTION.format(table=fuzzed.table), origin)
    _print_progress(f"{arguments.sends:,} random sends …")
    record_random_sends(arguments.sends, arguments.seed, origin)
    rows = []
    with prepare_databases(arguments.subscribers) as prepared:
        ways = [(way, *crowd) for way in ROUTES for crowd in prepared.items()]
        for seed, (way, database, crowd) in enumerate(ways, arguments.seed):
            _print_progress(f"{way.name}, {database}, seed {seed} …")
            rows.append(run_killed_send(way, database, crowd, arguments.kills, seed).table_row)
            _print_progress(rows[-1])
            told = {
                "subscribers": arguments.subscribers,
                "kills": arguments.kills,
                "table": "\n".join([TABLE_HEAD, *rows]),
            }
            write_section("Kills", KILLS_SECTION.format(**told), origin)
    _print_progress("four workers …")
    record_result(run_worker_kills(SUBSCRIBERS, RATE_LIMIT, KILL_INTERVAL, arguments.seed), origin)
    _print_progress("the simulated years …")
    record_years(simulate_years(list(ZONES), list(DATABASES), seed=arguments.seed, report=_print_progress), origin)


def _print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
