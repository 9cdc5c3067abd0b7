"""Everything at once on SQLite: an edition goes out and a list comes in, while readers leave by one click.

`digest serve` answers the readers and sends the edition in one process, as it does by default; another imports.
What is measured ends with whichever of the two ends first: `python -m benchmarks.concurrent_load`.
"""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.list_import import import_in_subprocess, write_list
from benchmarks.page_server import CLICKS_BAR, run_digest_serve, unsubscribe_meanwhile
from benchmarks.postfix_tools import PostfixTools
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import benchmark_settings, create_ready_database, loopback_mail_url
from benchmarks.sizes import FULL, BenchmarkSize
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database

CONNECTIONS = 8


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure, and put the readers' waits beside their bar."""
    subscribers, rows = size.concurrent_load
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
        settings = benchmark_settings(home).model_copy(update={"mail_url": _mail_url(stack)})
        database = create_ready_database(settings, subscribers, now=datetime.now(UTC))
        stack.callback(database.close)
        write_list(home / "list.csv", rows)
        with run_digest_serve(settings, timetable=True) as pages:
            _wait_for_send(database)
            with unsubscribe_meanwhile(pages, settings, range(1, subscribers + 1)) as clicks:
                before, began = _count_accepted(database), time.perf_counter()
                imported = import_in_subprocess(settings.effective_database_url, home)
                sent, took = _count_accepted(database) - before, time.perf_counter() - began
                over = _count_waiting(database) == 0
    what = "one-click POST during a send and an import, SQLite"
    sheet.add_result(what, str(clicks), CLICKS_BAR, bar_met=clicks.bar_met)
    sheet.print_note(
        f"meanwhile {sent / took:,.0f} messages a second in the process that serves{' (it ended before)' if over else ''}, "
        f"{rows / imported.seconds:,.0f} rows a second, longest transaction {imported.longest * 1000:.0f} ms"
    )


def _mail_url(stack: ExitStack) -> SecretStr:
    postfix = PostfixTools()
    if postfix.missing_tools:
        return SecretStr("outbox:")
    port = stack.enter_context(postfix.run_sink())
    return loopback_mail_url(port, CONNECTIONS)


def _wait_for_send(database: Database) -> None:
    for _ in range(1200):
        if _count_accepted(database):
            return
        time.sleep(0.1)
    raise SystemExit("'digest serve' does not send")


def _count_accepted(database: Database) -> int:
    return _count_deliveries(database, DeliveryState.ACCEPTED)


def _count_waiting(database: Database) -> int:
    return _count_deliveries(database, DeliveryState.WAITING)


def _count_deliveries(database: Database, state: DeliveryState) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(Delivery.state == state)) or 0


if __name__ == "__main__":
    main(ResultSheet(), FULL)
