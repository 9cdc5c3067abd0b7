"""Everything at once on SQLite: an edition goes out and a list comes in, while readers leave by one click.

`digest serve` answers the readers and sends the edition in one process, as it does by default; another imports.
What is measured ends with whichever of the two ends first: `python -m benchmarks.at_once`.
"""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.bars import Sheet
from benchmarks.importing import import_apart, write_list
from benchmarks.people import prepare, settings_in
from benchmarks.postfix import Postfix
from benchmarks.serving import clicking, served
from benchmarks.sizes import FULL, Size
from digest.db import Database
from digest.delivery_db import Delivery, DeliveryState

CONNECTIONS = 8


def main(sheet: Sheet, size: Size) -> None:
    """Measure, and put the readers' waits beside their bar."""
    readers, rows = size.at_once
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
        settings = settings_in(home).model_copy(update={"mail_url": SecretStr(_way_out(stack))})
        database = prepare(settings, readers, now=datetime.now(UTC))
        stack.callback(database.close)
        write_list(home / "list.csv", rows)
        with served(settings, timetable=True) as pages:
            _await_the_send(database)
            with clicking(pages, settings, range(1, readers + 1)) as clicks:
                before, began = _accepted(database), time.perf_counter()
                imported = import_apart(settings.database, home)
                sent, took = _accepted(database) - before, time.perf_counter() - began
                over = _waiting(database) == 0
    what = "one-click POST during a send and an import, SQLite"
    sheet.line(what, str(clicks), "p99 < 500 ms, none fails", held=clicks.held)
    sheet.note(
        f"meanwhile {sent / took:,.0f} messages a second in the process that serves{' (it ended before)' if over else ''}, "
        f"{rows / imported.seconds:,.0f} rows a second, longest transaction {imported.longest * 1000:.0f} ms"
    )


def _way_out(stack: ExitStack) -> str:
    postfix = Postfix()
    if postfix.missing:
        return "outbox:"
    port = stack.enter_context(postfix.sinking())
    return f"smtp://127.0.0.1:{port}?starttls=off&connections={CONNECTIONS}&messages=10000"


def _await_the_send(database: Database) -> None:
    for _ in range(1200):
        if _accepted(database):
            return
        time.sleep(0.1)
    raise SystemExit("'digest serve' does not send")


def _accepted(database: Database) -> int:
    return _count(database, DeliveryState.ACCEPTED)


def _waiting(database: Database) -> int:
    return _count(database, DeliveryState.WAITING)


def _count(database: Database, state: DeliveryState) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(Delivery.state == state)) or 0


if __name__ == "__main__":
    main(Sheet(), FULL)
