"""What one reader, one message and one event cost: the figures that `growth_model` reckons with.

`python -m benchmarks.growth_figures [--readers N]` measures on both databases, in minutes, and prints them as JSON. A list is
imported with evidence, an edition is sent to a sink on this machine, and an event is stored for each of its messages. Bytes are
those of the whole database, indexes included; after the send PostgreSQL's hold the old versions of its rows, too, as they do in life.
"""

import argparse
import json
import logging
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from benchmarks.databases import DATABASE_KINDS, fresh_database
from benchmarks.list_import import import_in_subprocess, write_list
from benchmarks.receiver_process import run_receiver
from benchmarks.sample_installation import (
    EDITION_NAME,
    KEYS,
    RELEASE,
    benchmark_settings,
    create_populated_database,
    loopback_mail_url,
    store_approved_edition,
)
from digest import logs
from digest.backups.creation import create_backup
from digest.deliver.compose.dkim import DkimSigner, SigningKey, canonicalize_message
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.settings import Settings
from digest.store.delivery_models import Delivery, StoredDeliveryEvent
from digest.store.engine import Database
from subscribers.store.database import is_postgresql

CONNECTIONS = 50
SIGNATURES = 300


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """What one installation took, by reader, message or event; CPU is that of the process of ours, in µs.

    Rates are those a CPU second of that process: what else the machine does changes them little. `commits` and `log_bytes` are PostgreSQL's transactions and bytes of its write-ahead log a message; 0 on SQLite.
    """

    import_rate: float
    plan_rate: float
    send_cpu: float
    subscriber_bytes: float
    delivery_bytes: float
    event_bytes: float
    backup_bytes: float
    backup_rate: float
    commits: float
    log_bytes: float


def measure_database(kind: str, subscribers: int) -> DatabaseFigures:
    """Import, send, store events and back up, on a fresh database of a kind."""
    with (
        TemporaryDirectory(prefix="digest-bench-") as name,
        fresh_database(kind, Path(name)) as url,
        run_receiver("smtp_sink") as sink,
    ):
        home = Path(name)
        mail_url = loopback_mail_url(sink.port, CONNECTIONS)
        settings = benchmark_settings(home).model_copy(update={"database_url": url, "mail_url": mail_url})
        with closing(create_populated_database(settings, 0)) as database:
            sizes = [_database_bytes(database, home)]
            write_list(home / "list.csv", subscribers)
            imported = import_in_subprocess(url, home)
            sizes.append(_database_bytes(database, home))
            before = _server_counts(database)
            plan_seconds, cpu = _plan_and_send(database, settings)
            after = _server_counts(database)
            sizes.append(_database_bytes(database, home))
            _store_events(database)
            sizes.append(_database_bytes(database, home))
            began = time.process_time()
            create_backup(database, home / "backup.zip", now=datetime.now(UTC))
            rows, took = 4 * subscribers, time.process_time() - began  # a person, a consent event, a delivery, an event
            reader, delivery, event = ((size - less) / subscribers for less, size in pairwise(sizes))
            return DatabaseFigures(
                import_rate=imported.rows / imported.cpu,
                plan_rate=subscribers / plan_seconds,
                send_cpu=cpu / subscribers * 1e6,
                subscriber_bytes=reader,
                delivery_bytes=delivery,
                event_bytes=event,
                backup_bytes=(home / "backup.zip").stat().st_size / rows,
                backup_rate=rows / took,
                commits=(after[0] - before[0]) / subscribers,
                log_bytes=(after[1] - before[1]) / subscribers,
            )


def _plan_and_send(database: Database, settings: Settings) -> tuple[float, float]:
    """Plan and send; return the CPU seconds of this process for either."""
    store_approved_edition(database, settings, kilobytes=4, now=RELEASE)
    planning = time.process_time()
    plan_deliveries(database, EDITION_NAME, KEYS, settings, now=RELEASE)
    planned = time.process_time() - planning
    with closing(open_provider(settings)) as provider:
        began = time.process_time()
        report = run_edition(database, EDITION_NAME, provider, KEYS, settings, clock=lambda: datetime.now(UTC))
        spent = time.process_time() - began
    assert not report.delivery_counts.open
    return planned, spent


def _store_events(database: Database) -> None:
    """Store one event of a provider for each delivery."""
    with database.read() as session:
        ids = session.scalars(select(Delivery.id)).all()
    now, detail = datetime.now(UTC), {"response": "250 2.0.0 OK  1795176000 d9443c01a7336-2124a1d1f0esi1234567"}
    for start in range(0, len(ids), 1000):
        rows: list[dict[str, Any]] = [
            {
                "delivery": delivery,
                "kind": "delivered",
                "at": now,
                "received_at": now,
                "fingerprint": token_hex(32),
                "provider_mark": token_hex(32),
                "detail": detail,
            }
            for delivery in ids[start : start + 1000]
        ]
        with database.write() as session:
            session.execute(insert(StoredDeliveryEvent), rows)


def _database_bytes(database: Database, home: Path) -> int:
    with database.read() as session:
        if is_postgresql(session):
            return _read_number(session, "SELECT pg_database_size(current_database())")
    return sum(file.stat().st_size for file in home.glob("digest.db*"))


def _server_counts(database: Database) -> tuple[int, int]:
    """Return PostgreSQL's transactions and bytes of write-ahead log so far."""
    with database.read() as session:
        if not is_postgresql(session):
            return 0, 0
        commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        log_bytes = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
        return _read_number(session, commits), _read_number(session, log_bytes)


def _read_number(session: Session, query: str) -> int:
    return int(session.execute(text(query)).scalar_one())


def measure_signing() -> float:
    """Give the CPU seconds of one DKIM signature with RSA-2048, in µs."""
    signer = DkimSigner("news.example.org", (SigningKey("bench", rsa.generate_private_key(65537, 2048)),))
    message = canonicalize_message((b"From: desk@news.example.org\r\nSubject: The week\r\n\r\nA story.\r\n",))
    began = time.process_time()
    for _ in range(SIGNATURES):
        signer.build_signature_fields(message)
    return (time.process_time() - began) / SIGNATURES * 1e6


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--subscribers", type=int, default=50_000)
    given = reader.parse_args()
    logs.configure_logging(logging.WARNING)  # a line of a send would stand before the JSON
    figures: dict[str, Any] = {kind: asdict(measure_database(kind, given.subscribers)) for kind in DATABASE_KINDS}
    print(json.dumps(figures | {"signature_cpu": measure_signing()}, indent=1))
