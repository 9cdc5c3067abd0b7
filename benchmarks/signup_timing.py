"""How long the answer to a sign-up takes, by who it is: `python -m benchmarks.signup_timing`.

A page that took longer for readers than for strangers would tell who reads. The rounds are interleaved, each in an
order of its own, so that a noisy moment hits all alike. Whether two distributions differ is judged by the
Kolmogorov-Smirnov distance: two samples of n of one distribution lie within 1.59 √(2/n) of each other but for one
comparison in eighty, so that of the four comparisons one is missed by chance alone in one run of twenty.
"""

import logging
import random
import re
import tempfile
import time
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from math import sqrt
from pathlib import Path

import structlog
from sqlalchemy import delete

from benchmarks.results import ResultSheet
from benchmarks.sizes import FULL, BenchmarkSize
from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsFileContent, UsageLimitSettings
from digest.store.engine import migrate_schema, open_database
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.consent import suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store import people
from subscribers.store.signup_models import SignupRequest

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
ADDRESS_STANDINGS = ("unknown", "pending", "confirmed", "withdrawn", "suppressed")
NO_LIMIT = 10**9


def signup_form(address: str) -> dict[str, str]:
    return {"email": address, "agree": "yes", "wording": "1"}


def create_installation(home: Path) -> Installation:
    """Make an installation with one address of each standing and limits that do not bind."""
    limits = UsageLimitSettings(
        signups_per_network=NO_LIMIT,
        signups_alert=NO_LIMIT,
        signups_per_domain=NO_LIMIT,
        signups_first=NO_LIMIT,
        signups_further=NO_LIMIT,
        signups_waiting=NO_LIMIT,
    )
    settings = Settings(file=SettingsFileContent(limits=limits), home=home)
    KeyRing.create(settings.key_file)
    database = open_database(settings.effective_database_url)
    migrate_schema(database)
    install = Installation(settings, database)
    client = create_app(install, clock=lambda: NOW).test_client()
    for standing in ADDRESS_STANDINGS[1:]:
        client.post("/subscribe", data=signup_form(f"{standing}@county.example"))
    process_signup_requests(install, clock=lambda: NOW)
    send_due_transactional_emails(install, clock=lambda: NOW)
    for mail in (settings.outbox_folder / "notice").glob("*.eml"):
        text = mail.read_bytes().replace(b"=\r\n", b"").decode()
        link = re.search(r"/confirm/[\w-]{22}", text)
        if link and "pending@" not in text:
            client.post(link[0])
    depart_and_suppress(install)
    return install


def depart_and_suppress(install: Installation) -> None:
    """Have one reader leave and one be suppressed."""
    keys = install.keys
    with install.database.write() as session:
        number = people.find_person_number(session, keys, read_address("withdrawn@county.example"))
        assert number is not None
        unsubscribe_log = UnsubscribeLog(install.settings.left_log, keys)
        unsubscribe_person(session, unsubscribe_log, number, method="page", now=NOW)
        address = read_address("suppressed@county.example")
        suppression.suppress_address(
            session, keys, address, reason="bounced", actor="bench", now=NOW, unsubscribe_log=unsubscribe_log
        )


def measure_answer_times(install: Installation, rounds: int) -> dict[str, list[float]]:
    """Give the time of each answer in milliseconds, sorted, by standing."""
    client = create_app(install, clock=lambda: NOW + timedelta(days=1)).test_client()
    chance = random.Random(1)
    took: dict[str, list[float]] = {standing: [] for standing in ADDRESS_STANDINGS}
    for turn in range(rounds + 20):
        for standing in chance.sample(ADDRESS_STANDINGS, len(ADDRESS_STANDINGS)):
            data = signup_form(f"{standing}@county.example")
            began = time.perf_counter()
            answer = client.post("/subscribe", data=data)
            spent = (time.perf_counter() - began) * 1000
            assert answer.status_code == 200
            if turn >= 20:  # the first rounds warm caches
                took[standing].append(spent)
        if turn % 50 == 49:
            with install.database.write() as session:
                session.execute(delete(SignupRequest))
    return {standing: sorted(times) for standing, times in took.items()}


def ks_distance(first: list[float], second: list[float]) -> float:
    """Give the Kolmogorov-Smirnov distance of two sorted samples."""
    return max(
        abs(bisect_right(first, t) / len(first) - bisect_right(second, t) / len(second)) for t in (*first, *second)
    )


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure, and say whether any standing can be told from that of an unknown address."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        install = create_installation(Path(folder))
        took = measure_answer_times(install, size.signup_rounds)
        install.database.close()
    bar = 1.59 * sqrt(2 / size.signup_rounds)
    far = {standing: ks_distance(times, took["unknown"]) for standing, times in took.items()}
    for standing, times in took.items():
        quantiles = "  ".join(f"p{q} {times[min(len(times) - 1, len(times) * q // 100)]:6.2f}" for q in (5, 50, 95, 99))
        sheet.print_note(f"{standing:11} {quantiles} ms   distance to unknown {far[standing]:.3f}")
    widest = max(far.values())
    what = f"answer to a sign-up, by who it is, SQLite, {size.signup_rounds} rounds: the widest distance of times"
    sheet.add_result(what, f"{widest:.3f}", f"<= {bar:.3f}", bar_met=widest <= bar)


if __name__ == "__main__":
    main(ResultSheet(), FULL)
