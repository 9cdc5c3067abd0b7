"""Events a second, 20 a post, through `digest serve` over loopback: `python -m benchmarks.webhook`.

Receiving is what SendGrid waits for: signature, encryption and a durable row in SQLite for each post. The same process
applies them meanwhile, every second, and lets readers leave by one click. The upper bound is a durable commit of the same
bytes and nothing else. Rounds of both are interleaved, and the medians are taken: disks are noisy.
"""

import http.client
import json
import time
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import func, insert, select, text

from benchmarks import peers
from benchmarks.page_server import CLICKS_BAR, ClickResults, run_digest_serve, unsubscribe_meanwhile
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import KEYS, benchmark_settings, create_populated_database
from benchmarks.sizes import FULL, BenchmarkSize
from digest.deliver.compose.identifiers import make_delivery_id
from digest.deliver.providers.sendgrid.events import SIGNATURE_HEADER, TIMESTAMP_HEADER
from digest.store.delivery_models import Delivery, DeliveryState, ReceivedEventPayload, StoredDeliveryEvent
from digest.store.engine import Database, open_database

MIN_EVENTS_PER_SECOND = 5_000  # events a second
EVENTS_PER_POST = 20
ROUNDS = 5
CONNECTIONS = 4  # over which a provider posts
LEAVING_PEOPLE = range(1, 501)
PURPOSE = "edition:2026-W47"
SIGNING_KEY = ec.generate_private_key(ec.SECP256R1())

SignedPost = tuple[bytes, dict[str, str]]


def _signed_posts(count: int) -> list[SignedPost]:
    """Write signed posts as SendGrid does: one reader's message an event, the kinds in turn."""
    now = int(time.time())
    signed_posts = []
    for n in range(count):
        events = [
            {
                "email": f"reader{n}.{m}@county{m}.example.org",
                "timestamp": now,
                "smtp-id": f"<2026-W47.{n}.{m}@weekly.news.example.org>",
                "event": "delivered" if m % 2 else "processed",
                "delivery_id": make_delivery_id(KEYS, PURPOSE, (n * EVENTS_PER_POST + m) // 2),
                "sg_event_id": f"ZGVsaXZlcmVkLTAt{n:08}{m:04}",
                "sg_message_id": f"14c5d75ce93.dfd.64b469.{n:08}.{m:04}.recvd-7d9f8c-{m}",
                "response": "250 2.0.0 OK  1795176000 d9443c01a7336-2124a1d1f0esi1234567",
                "tls": 1,
            }
            for m in range(EVENTS_PER_POST)
        ]
        body = json.dumps(events).encode()
        signed = b64encode(SIGNING_KEY.sign(str(now).encode() + body, ec.ECDSA(SHA256()))).decode()
        signed_posts.append(
            (body, {SIGNATURE_HEADER: signed, TIMESTAMP_HEADER: str(now), "Content-Type": "application/json"})
        )
    return signed_posts


def _store_deliveries(database: Database, people: int) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "id": make_delivery_id(KEYS, PURPOSE, n),
            "purpose": PURPOSE,
            "state": DeliveryState.ACCEPTED,
            "due_at": now,
            "next_try_at": now,
        }
        for n in range(people)
    ]
    with database.write() as session:
        session.execute(insert(Delivery), rows)


def _post_all(url: str, posts: Sequence[SignedPost]) -> float:
    """Post all over several connections; give the seconds until the last is answered."""
    shares = [posts[start::CONNECTIONS] for start in range(CONNECTIONS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(_post_over_one_connection, url, share) for share in shares]:
            done.result()
    return time.perf_counter() - start


def _post_over_one_connection(url: str, posts: Sequence[SignedPost]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    for body, headers in posts:
        connection.request("POST", "/hooks/sendgrid", body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    connection.close()


def _commit_bare_bodies(database: Database, posts: Sequence[SignedPost]) -> float:
    start = time.perf_counter()
    for body, _ in posts:
        with database.write() as session:
            session.execute(text("INSERT INTO bare VALUES (:body)"), {"body": body})
    return time.perf_counter() - start


def _count_rows(database: Database) -> tuple[int, int, int]:
    """Count posts, those that are not applied, and events."""
    with database.read() as session:
        posts, applied = session.execute(select(func.count(), func.count(ReceivedEventPayload.applied_at))).one()
        return posts, posts - applied, session.scalar(select(func.count()).select_from(StoredDeliveryEvent)) or 0


def _wait_until_applied(database: Database) -> float:
    start = time.perf_counter()
    while _count_rows(database)[1]:
        time.sleep(0.1)
    return time.perf_counter() - start


def measure_webhook(posts: int) -> tuple[dict[str, float], ClickResults]:
    """Receive and apply so many posts of 20, and receive them again, in a fresh installation."""
    public = SIGNING_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with TemporaryDirectory(prefix="digest-bench-") as folder:
        key = {"sendgrid_webhook_key": b64encode(public).decode()}
        settings = benchmark_settings(Path(folder)).model_copy(update=key)
        database = create_populated_database(settings, len(LEAVING_PEOPLE))
        bare = open_database(f"sqlite:///{folder}/bare.db")
        with bare.write() as session:
            session.execute(text("CREATE TABLE bare (body BLOB)"))
        signed_posts, events = _signed_posts(posts), posts * EVENTS_PER_POST
        _store_deliveries(database, events // 2)
        rounds = [signed_posts[n::ROUNDS] for n in range(ROUNDS)]
        with (
            run_digest_serve(settings, timetable=True) as url,
            unsubscribe_meanwhile(url, settings, LEAVING_PEOPLE) as clicks,
        ):
            took = [(_post_all(url, part), _commit_bare_bodies(bare, part)) for part in rounds]
            rest = _wait_until_applied(database)
            before = _count_rows(database)
            repeat_seconds = _post_all(url, signed_posts)
            repeat_rest = _wait_until_applied(database)
            after = _count_rows(database)
        bare.close()
        database.close()
    sizes = [len(part) * EVENTS_PER_POST for part in rounds]
    return {
        "receive": median(n / t[0] for n, t in zip(sizes, took, strict=True)),
        "bare": median(n / t[1] for n, t in zip(sizes, took, strict=True)),
        "rest": rest + repeat_rest,
        "repeat": events / repeat_seconds,
        "added": sum(after) - sum(before),
        "kept": before[2],
        "events": events,
        "peer": peers.receive_with_flask(rounds[0]) * EVENTS_PER_POST,
    }, clicks


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure, and put the rates beside their bars."""
    rates, clicks = measure_webhook(size.webhook_posts)
    assert rates["kept"] == rates["events"], f"{rates}"
    peer = f"a Flask page that adds an ORM object an event, unproved and unencrypted {rates['peer']:,.0f}/s"
    what = f"webhook, {EVENTS_PER_POST} events a request, SQLite"
    sheet.add_result(
        what,
        f"{rates['receive']:,.0f} events/s",
        f">= {MIN_EVENTS_PER_SECOND:,}",
        bar_met=rates["receive"] >= MIN_EVENTS_PER_SECOND,
        peer=peer,
    )
    sheet.print_note(
        f"a bare commit of the same bytes {rates['bare']:,.0f}/s; {rates['rest']:.1f} s later all was applied"
    )
    repeated = f"{rates['added']:.0f} rows added, {rates['repeat']:,.0f} events/s"
    sheet.add_result("webhook, the same again", repeated, "0 rows added", bar_met=rates["added"] == 0)
    sheet.add_result("one-click POST during the webhook's posts", str(clicks), CLICKS_BAR, bar_met=clicks.bar_met)


if __name__ == "__main__":
    main(ResultSheet(), FULL)
