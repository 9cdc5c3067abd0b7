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
from benchmarks.bars import Sheet
from benchmarks.people import KEYS, populated, settings_in
from benchmarks.serving import Clicks, clicking, served
from benchmarks.sizes import FULL, Size
from digest.db import Database, open_database
from digest.deliver.identity import delivery_id
from digest.delivery_db import Delivery, DeliveryState, Event, Inbound
from digest.web.hooks import SIGNATURE, TIMESTAMP

BAR = 5_000  # events a second
A_POST = 20
ROUNDS = 5
CONNECTIONS = 4  # over which a provider posts
LEAVING = range(1, 501)
PURPOSE = "edition:2026-W47"
KEY = ec.generate_private_key(ec.SECP256R1())

Post = tuple[bytes, dict[str, str]]


def _posts(posts: int) -> list[Post]:
    """Write signed posts as SendGrid does: one reader's message an event, the kinds in turn."""
    now = int(time.time())
    made = []
    for n in range(posts):
        events = [
            {
                "email": f"reader{n}.{m}@county{m}.example.org",
                "timestamp": now,
                "smtp-id": f"<2026-W47.{n}.{m}@weekly.news.example.org>",
                "event": "delivered" if m % 2 else "processed",
                "delivery_id": delivery_id(KEYS, PURPOSE, (n * A_POST + m) // 2),
                "sg_event_id": f"ZGVsaXZlcmVkLTAt{n:08}{m:04}",
                "sg_message_id": f"14c5d75ce93.dfd.64b469.{n:08}.{m:04}.recvd-7d9f8c-{m}",
                "response": "250 2.0.0 OK  1795176000 d9443c01a7336-2124a1d1f0esi1234567",
                "tls": 1,
            }
            for m in range(A_POST)
        ]
        body = json.dumps(events).encode()
        signed = b64encode(KEY.sign(str(now).encode() + body, ec.ECDSA(SHA256()))).decode()
        made.append((body, {SIGNATURE: signed, TIMESTAMP: str(now), "Content-Type": "application/json"}))
    return made


def _plan(database: Database, people: int) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "id": delivery_id(KEYS, PURPOSE, n),
            "purpose": PURPOSE,
            "state": DeliveryState.ACCEPTED,
            "due_at": now,
            "next_try_at": now,
        }
        for n in range(people)
    ]
    with database.write() as session:
        session.execute(insert(Delivery), rows)


def _post(url: str, posts: Sequence[Post]) -> float:
    """Post all over several connections; give the seconds until the last is answered."""
    shares = [posts[start::CONNECTIONS] for start in range(CONNECTIONS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(_over_one, url, share) for share in shares]:
            done.result()
    return time.perf_counter() - start


def _over_one(url: str, posts: Sequence[Post]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    for body, headers in posts:
        connection.request("POST", "/hooks/sendgrid", body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    connection.close()


def _bare(bare: Database, posts: Sequence[Post]) -> float:
    start = time.perf_counter()
    for body, _ in posts:
        with bare.write() as session:
            session.execute(text("INSERT INTO bare VALUES (:body)"), {"body": body})
    return time.perf_counter() - start


def _rows(database: Database) -> tuple[int, int, int]:
    """Count posts, those that are not applied, and events."""
    with database.read() as session:
        posts, applied = session.execute(select(func.count(), func.count(Inbound.applied_at))).one()
        return posts, posts - applied, session.scalar(select(func.count()).select_from(Event)) or 0


def _await_applied(database: Database) -> float:
    start = time.perf_counter()
    while _rows(database)[1]:
        time.sleep(0.1)
    return time.perf_counter() - start


def measure(posts: int) -> tuple[dict[str, float], Clicks]:
    """Receive and apply so many posts of 20, and receive them again, in a fresh installation."""
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with TemporaryDirectory(prefix="digest-bench-") as folder:
        key = {"sendgrid_webhook_key": b64encode(public).decode()}
        settings = settings_in(Path(folder)).model_copy(update=key)
        database = populated(settings, len(LEAVING))
        bare = open_database(f"sqlite:///{folder}/bare.db")
        with bare.write() as session:
            session.execute(text("CREATE TABLE bare (body BLOB)"))
        made, events = _posts(posts), posts * A_POST
        _plan(database, events // 2)
        rounds = [made[n::ROUNDS] for n in range(ROUNDS)]
        with served(settings, timetable=True) as url, clicking(url, settings, LEAVING) as clicks:
            took = [(_post(url, part), _bare(bare, part)) for part in rounds]
            rest = _await_applied(database)
            before = _rows(database)
            again = _post(url, made)
            rest_again = _await_applied(database)
            after = _rows(database)
        bare.close()
        database.close()
    sizes = [len(part) * A_POST for part in rounds]
    return {
        "receive": median(n / t[0] for n, t in zip(sizes, took, strict=True)),
        "bare": median(n / t[1] for n, t in zip(sizes, took, strict=True)),
        "rest": rest + rest_again,
        "repeat": events / again,
        "added": sum(after) - sum(before),
        "kept": before[2],
        "events": events,
        "peer": peers.receiving(rounds[0]) * A_POST,
    }, clicks


def main(sheet: Sheet, size: Size) -> None:
    """Measure, and put the rates beside their bars."""
    found, clicks = measure(size.posts)
    assert found["kept"] == found["events"], f"{found}"
    said = f"a Flask page that adds an ORM object an event, unproved and unencrypted {found['peer']:,.0f}/s"
    what = f"webhook, {A_POST} events a request, SQLite"
    sheet.line(
        what, f"{found['receive']:,.0f} events/s", f">= {BAR:,}", held=found["receive"] >= BAR, peer=said
    )
    sheet.note(
        f"a bare commit of the same bytes {found['bare']:,.0f}/s; {found['rest']:.1f} s later all was applied"
    )
    repeated = f"{found['added']:.0f} rows added, {found['repeat']:,.0f} events/s"
    sheet.line("webhook, the same again", repeated, "0 rows added", held=found["added"] == 0)
    sheet.line(
        "one-click POST during the webhook's posts", str(clicks), "p99 < 500 ms, none fails", held=clicks.held
    )


if __name__ == "__main__":
    main(Sheet(), FULL)
