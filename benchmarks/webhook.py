"""Events a second through the pages' own application, 20 a post: `python -m benchmarks.webhook`.

Receiving is what SendGrid waits for: signature, encryption and a durable row in SQLite for each post. Applying is what
the worker does afterwards. The peer is the receiving side without us: a durable commit of the same bytes to SQLite,
nothing else. Rounds of both are interleaved, and the medians are printed: disks are noisy.
"""

import argparse
import json
import logging
import tempfile
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select, text

from digest import logs, weekly
from digest.db import Database, migrate, open_database
from digest.deliver.identity import delivery_id
from digest.delivery_db import Delivery, DeliveryState, Event, Inbound
from digest.install import Install
from digest.settings import Settings
from digest.web.app import create_app
from digest.web.hooks import SIGNATURE, TIMESTAMP
from subscribers.vault import Keys

BAR = 5000  # events a second
A_POST = 20
ROUNDS = 5
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def _posts(keys: Keys, posts: int) -> list[tuple[bytes, dict[str, str]]]:
    """Write signed posts as SendGrid does: one reader's message an event, the kinds in turn."""
    stamp = str(int(NOW.timestamp()))
    made = []
    for n in range(posts):
        events = [
            {
                "email": f"reader{n}.{m}@county{m}.example.org",
                "timestamp": int(NOW.timestamp()),
                "smtp-id": f"<2026-W47.{n}.{m}@weekly.news.example.org>",
                "event": "delivered" if m % 2 else "processed",
                "delivery_id": delivery_id(keys, "edition:2026-W47", (n * A_POST + m) // 2),
                "sg_event_id": f"ZGVsaXZlcmVkLTAt{n:08}{m:04}",
                "sg_message_id": f"14c5d75ce93.dfd.64b469.{n:08}.{m:04}.recvd-7d9f8c-{m}",
                "response": "250 2.0.0 OK  1795176000 d9443c01a7336-2124a1d1f0esi1234567",
                "tls": 1,
            }
            for m in range(A_POST)
        ]
        body = json.dumps(events).encode()
        signed = b64encode(KEY.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
        made.append((body, {SIGNATURE: signed, TIMESTAMP: stamp}))
    return made


def _plan(database: Database, keys: Keys, people: int) -> None:
    rows = [
        {
            "id": delivery_id(keys, "edition:2026-W47", n),
            "purpose": "edition:2026-W47",
            "state": DeliveryState.ACCEPTED,
            "due_at": NOW,
            "next_try_at": NOW,
        }
        for n in range(people)
    ]
    with database.write() as session:
        session.execute(insert(Delivery), rows)


def _receive(client: FlaskClient, posts: list[tuple[bytes, dict[str, str]]]) -> float:
    start = time.perf_counter()
    for body, headers in posts:
        answer = client.post("/hooks/sendgrid", data=body, headers=headers, content_type="application/json")
        assert answer.status_code == 200, answer.status_code
    return time.perf_counter() - start


def _cpu(client: FlaskClient, posts: list[tuple[bytes, dict[str, str]]]) -> tuple[float, float]:
    """Receive posts; give the seconds on the clock, and those of the processor."""
    start = time.process_time()
    took = _receive(client, posts)
    return took, time.process_time() - start


def _peer(database: Database, posts: list[tuple[bytes, dict[str, str]]]) -> float:
    with database.write() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS peer (body BLOB)"))
    start = time.perf_counter()
    for body, _ in posts:
        with database.engine.execution_options(immediate=True).begin() as connection:
            connection.execute(text("INSERT INTO peer VALUES (:body)"), {"body": body})
    return time.perf_counter() - start


def measure(posts: int) -> dict[str, float]:
    """Receive and apply so many posts of 20 in a fresh installation; give the rates, and the rows that a repeat adds."""
    with tempfile.TemporaryDirectory() as folder:
        public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        settings = Settings(home=Path(folder), sendgrid_webhook_key=b64encode(public).decode())
        keys = Keys.create(settings.key_file)
        database = open_database(settings.database)
        migrate(database)
        install = Install(settings, database)
        made, events = _posts(keys, posts), posts * A_POST
        _plan(database, keys, events // 2)
        client = create_app(install, clock=lambda: NOW).test_client()
        rounds = [made[n::ROUNDS] for n in range(ROUNDS)]
        took = [(_cpu(client, part), _peer(database, part)) for part in rounds]
        size = len(rounds[0]) * A_POST
        start = time.perf_counter()
        weekly.apply_events(install, clock=lambda: NOW)
        applied = time.perf_counter() - start
        before = _rows(database)
        again = _receive(client, made)
        weekly.apply_events(install, clock=lambda: NOW)
        found = {
            "receive": size / median(t[0][0] for t in took),
            "cpu": median(t[0][1] for t in took) / len(rounds[0]) * 1e3,
            "repeat": events / again,
            "apply": events / applied,
            "peer": size / median(t[1] for t in took),
            "added": float(_rows(database) - before),
            "events": float(before - posts),
        }
        database.close()
        return found


def _rows(database: Database) -> int:
    with database.read() as session:
        counts = [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Event, Inbound)]
        return sum(counts)


def main() -> None:
    """Print the rates beside the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1000)
    posts = parser.parse_args().posts
    logs.configure(level=logging.WARNING)
    found = measure(posts)
    verdict = "held" if found["receive"] >= BAR else "MISSED"
    print(f"{posts} posts of {A_POST} events, SQLite, one connection")
    print(
        f"  receive          {found['receive']:9,.0f} events a second (bar {BAR:,}: {verdict}), {found['cpu']:.2f} ms CPU a post"
    )
    print(f"  the same again   {found['repeat']:9,.0f} events a second, {found['added']:.0f} rows added")
    print(f"  a bare commit    {found['peer']:9,.0f} events a second")
    print(f"  apply            {found['apply']:9,.0f} events a second, {found['events']:,.0f} kept")


if __name__ == "__main__":
    main()
