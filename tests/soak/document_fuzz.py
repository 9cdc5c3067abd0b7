"""Random documents for every parser, while the same process's pages are checked for responses.

Feeds, pages, calendars and pictures go through the children, as the collector sends them there. What comes to the process
itself (bounces, posts of providers, lists, logs, settings, keys, backups) is read in it.
"""

import gzip
import http.client
import io
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from PIL import Image

from digest import logs
from digest.app.doctor.received_message import MessageFileError, ReceivedMessage, examine_message
from digest.backups.archive import ArchiveReader, BackupError
from digest.collect.documents.parsed_document import ParseError
from digest.collect.fetch.robots_txt import RobotsRules
from digest.collect.imaging.encoded_image import CropShape, ImageError, SocialCardTexts
from digest.collect.sandbox import client
from digest.collect.sandbox.child import compute_document_limits
from digest.collect.sandbox.client import SANDBOX, DocumentRejectedError
from digest.collect.sources.readership import ReadershipError, parse_readership_csv
from digest.deliver.events.mailbox import incoming_mail, mime
from digest.deliver.events.postfix_log import MailLogError, read_postfix_log
from digest.deliver.providers.sendgrid.events import parse_webhook_body
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsError, load_settings
from digest.store.engine import migrate_schema, open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.crypto.keys import KeyFileError, KeyRing
from subscribers.crypto.passphrase import encrypt_text
from subscribers.garbage_collection import freeze_long_lived_objects
from subscribers.transfer.list_file import ListFileError, read_rows, survey_file
from tests.collect.parsers.test_hostile_documents import SEEDS
from tests.moments import AFTER_RELEASE as NOW
from tests.packed_lists import write_workbook, zip_files

ROOT = Path(__file__).parent.parent.parent
URL = "https://www.example.org/a/feed"
MAX_ANSWER_SECONDS = 0.1
MAX_PARENT_SECONDS = 2.0  # half a megabyte of short lines takes one on a busy machine; what is quadratic takes minutes
_MAX_REPEATED_BYTES = 300_000
_MAX_WAIT_SECONDS = 30.0  # for a child that is busy with another document, or is being started
_GIVEN_UP, _BROKE_OFF = "The program stopped reading the document", "the parser crashed"
_KEYS = KeyRing.from_seed(b"random documents")


@dataclass(frozen=True)
class FuzzedParser:
    """One reader of documents: what random documents are made of, and with which errors it may refuse one.

    `operation` is what a child does with it (`digest.collect.sandbox.child_operations`); empty for what this process reads.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = ()
    operation: str = ""


@dataclass
class ParserTally:
    """What became of a parser's documents: `given_up` by a limit of the child. `slowest` is in seconds."""

    read: int = 0
    refused: int = 0
    given_up: int = 0
    slowest: float = 0.0


@dataclass
class FuzzResult:
    """What came of some minutes of random documents.

    `problems` are documents that broke their parser, or that a limit did not end; `answers` and `idle_answers` the seconds that
    /healthz took during the run and before it.
    """

    seed: int
    tallies: dict[str, ParserTally]
    problems: list[str] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    idle_answers: list[float] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What should not have happened: no machine is so loaded that one answer in a hundred would be late."""
        slow = _share_of(self.answers, 0.99) >= MAX_ANSWER_SECONDS
        return [*self.problems, *([f"one /healthz in a hundred took {MAX_ANSWER_SECONDS} s or longer"] if slow else [])]

    @property
    def table(self) -> str:
        """A line for each parser, and a sentence on the answers."""
        rows = [
            f"| {name} | {tally.read + tally.refused + tally.given_up:,} | {tally.refused:,} | {tally.given_up} "
            f"| {tally.slowest * 1000:,.0f} ms |"
            for name, tally in self.tallies.items()
        ]
        late = sum(answer >= MAX_ANSWER_SECONDS for answer in self.answers)
        return "\n".join(
            [
                "| parser | documents | refused by it | ended by a limit | the slowest took |",
                "|---|---|---|---|---|",
                *rows,
                "",
                (
                    f"Seed {self.seed}; {len(self.problems)} broke a parser or outlived a limit. /healthz was requested {len(self.answers):,} "
                    f"times in the meantime: half answered within {_milliseconds(self.answers, 0.5)}, 99 in 100 within "
                    f"{_milliseconds(self.answers, 0.99)}, the slowest in {_milliseconds(self.answers, 1)}; {late} took 100 ms or "
                    f"longer. Before, with nothing to read, the slowest took {_milliseconds(self.idle_answers, 1)} (load of the "
                    f"machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)."
                ),
            ]
        )


def _share_of(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] if seconds else 0.0


def _milliseconds(seconds: list[float], share: float) -> str:
    return f"{_share_of(seconds, share) * 1000:.0f} ms"


def fuzz_documents(seconds: float, seed: int, *, threads: int = 2) -> FuzzResult:
    """Read random documents for so long, and ask /healthz all the while."""
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = Settings(home=Path(folder))
        KeyRing.create(settings.key_file)
        parsers = list_parsers(Path(folder))
        result = FuzzResult(seed, {parser.name: ParserTally() for parser in parsers})
        with closing(open_database(settings.effective_database_url)) as database:
            migrate_schema(database)
            SANDBOX.ensure_running_broker()
            app = create_app(Installation(settings, database))
            with open_page_server(app, "127.0.0.1", 0) as serving, ThreadPoolExecutor(threads + 1) as pool:
                freeze_long_lived_objects()  # as `digest serve` does once it has started
                result.idle_answers = _ask_until_done(serving.port, [pool.submit(time.sleep, 2)])
                end = time.monotonic() + seconds
                work = [
                    pool.submit(_read_until, end, random.Random(seed + number), parsers, result)
                    for number in range(threads)
                ]
                result.answers = _ask_until_done(serving.port, work)
                for done in work:
                    done.result()
    return result


def random_document(chance: random.Random, seeds: list[bytes]) -> bytes:
    """Give a document that was cut, overwritten, put together from others, or that says one thing very often."""
    body = chance.choice(seeds)
    for _ in range(chance.randrange(1, 5)):
        at, other = chance.randrange(len(body) + 1), chance.choice(seeds)
        start = chance.randrange(len(other))
        piece = other[start : start + chance.choice((1, 3, 12, 60))]
        times = chance.choice((0, 1, 1, 1, _MAX_REPEATED_BYTES // max(1, len(piece))))
        body = body[:at] + piece * times + body[at + chance.choice((0, 0, 1, 20)) :]
    if chance.random() < 0.3:
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        body = bytes(changed)
    return body[: chance.randrange(1, len(body) + 1)] if chance.random() < 0.2 else body


def _packed_list_seeds() -> list[bytes]:
    rows = [["Email", "Status"], ["ada@county.example", "subscribed"]]
    lists = {
        "subscribed_members.csv": "Email Address\nada@county.example\n",
        "unsubscribed_members.csv": "Email Address\n",
    }
    return [write_workbook({"People": rows}), zip_files(lists)]


def _image_seeds() -> list[bytes]:
    seeds = []
    for kind in ("JPEG", "PNG", "GIF", "WEBP"):
        out = io.BytesIO()
        Image.linear_gradient("L").resize((200, 150)).convert("RGB").save(out, kind)
        seeds.append(out.getvalue())
    return seeds


_CARD_WORDS = SocialCardTexts("The Digest", "No. 1", "Harbor closed by ice")


def list_parsers(folder: Path) -> list[FuzzedParser]:
    """List every parser of the product; `folder` is for those that read files."""

    def from_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write_and_read(body: bytes) -> object:
            file = folder / f"document-{threading.get_ident()}.csv"
            file.write_bytes(body)
            return read(file)

        return write_and_read

    def read_saved(body: bytes) -> object:
        return client.parse_saved_file_in_child(
            body, file_url="file:///saved.txt", site="https://hls.example/", now=NOW
        )

    return [
        *(
            FuzzedParser(name, [seed], lambda body: client.parse_document(body, url=URL, now=NOW), (ParseError,), "document")
            for name, seed in zip(_DOCUMENT_NAMES, SEEDS, strict=True)
        ),
        FuzzedParser("saved articles", SEEDS, read_saved, (ParseError,), "saved file"),
        FuzzedParser(
            "past editions", [_PAST_EDITION_SEED], lambda body: client.read_past_edition_in_child(body, url=URL, now=NOW), (ParseError,), "past edition"
        ),
        FuzzedParser(
            "pages of articles", [_ADVISORY_SEED], lambda body: SANDBOX.run(_ADVISORY_HEAD, body), (DocumentRejectedError,), "article page"
        ),
        FuzzedParser(
            "pictures, fitted", _image_seeds(), lambda body: client.encode_image_in_child("fit picture", body, max_pixels=40_000_000), (ImageError,), "fit picture"
        ),
        FuzzedParser(
            "logos", _image_seeds(), lambda body: client.encode_image_in_child("fit logo", body, max_pixels=40_000_000), (ImageError,), "fit logo"
        ),
        FuzzedParser(
            "header images", _image_seeds(), lambda body: client.encode_image_in_child("fit header", body, max_pixels=40_000_000), (ImageError,), "fit header"
        ),
        FuzzedParser("colors of logos", _image_seeds(), client.count_colors_in_child, (ImageError,), "count colors"),
        FuzzedParser(
            "pictures of cards", _image_seeds(), lambda body: client.encode_image_in_child("draw card", body, **asdict(_CARD_WORDS)), (ImageError,), "draw card"
        ),
        FuzzedParser(
            "pictures, cropped", _image_seeds(), lambda body: client.encode_image_in_child("crop picture", body, shape=CropShape.LEAD), (ImageError,), "crop picture"
        ),
        FuzzedParser("robots.txt", _ROBOTS_SEEDS, _read_robots),
        FuzzedParser("bounces and complaints", _mail_seeds(), _read_mail),
        FuzzedParser("received messages", [*_mail_seeds(), _RECEIVED_SEED], _examine_mail, (MessageFileError,)),
        FuzzedParser("posts of SendGrid", [_WEBHOOK_SEED], lambda body: parse_webhook_body(body, NOW)),
        FuzzedParser("mail logs", _LOG_SEEDS, from_file(_read_log), (MailLogError,)),
        FuzzedParser("lists", _LIST_SEEDS, from_file(lambda file: list(read_rows(survey_file(file)))), (ListFileError,)),
        FuzzedParser(
            "packed lists", _packed_list_seeds(), lambda body: list(client.unpack_list_in_child(body)), (DocumentRejectedError,), "unpack list"
        ),
        FuzzedParser(
            "readership", _READERSHIP_SEEDS, lambda body: parse_readership_csv(body, "https://hls.example/"), (ReadershipError,)
        ),
        FuzzedParser("settings", _settings_seeds(), from_file(lambda file: load_settings(file, {})), (SettingsError,)),
        FuzzedParser("key files", _key_seeds(), from_file(_read_keys), (KeyFileError,)),
        FuzzedParser("backups", [_archive_seed()], from_file(_read_archive), (BackupError,)),
    ]  # fmt: skip


_DOCUMENT_NAMES = (
    *("RSS", "Atom", "JSON Feed", "WordPress", "catalogs of vulnerabilities", "Federal Register", "iCalendar", "OPML", "news sitemaps", "pages", "plain text", "RSS in UTF-16"),
)  # fmt: skip
_PAST_EDITION_SEED = (
    b"<!doctype html><html><head><title>The Watch, Issue 146</title></head><body><p>Friday, November 13, 2026</p>"
    b'<h2><a href="https://a.example.org/tunnel?e=pat@county.example">Border tunnel found under a market hall</a></h2>'
    b'<div>Agents sealed a passage.</div><h3>Hospital recovers from attack</h3><a href="/hospital">Read more</a></body></html>'
)
_ADVISORY_HEAD = {"operation": "article page", "charset": None}
_ADVISORY_SEED = (
    b"<html><head><title>ICSA-26-320-01</title></head><body><main><h1>ICSA-26-320-01</h1><p>This advisory has been superseded by "
    b"ICSA-26-322-04, and is not updated any more.</p></main></body></html>"
)
_ROBOTS_SEEDS = [
    b"User-agent: *\nDisallow: /a/*.php$\nAllow: /\nCrawl-delay: 3\nSitemap: https://example.org/s.xml\n# end\n"
]
_WEBHOOK_SEED = json.dumps(
    [
        {"event": "bounce", "type": "blocked", "timestamp": 1795000000, "reason": "550 5.7.1 no", "status": "5.7.1",
         "sg_event_id": "a", "sg_message_id": "b.c", "delivery": "d" * 26, "smtp-id": "<a@b>"},
        {"event": "dropped", "timestamp": "1795000000", "reason": "Bounced Address", "sg_event_id": "e"},
        {"event": "delivered", "timestamp": 1.5e9, "response": "250 OK", "attempt": "2"},
    ]
).encode()  # fmt: skip
_LOG_LINES = (
    b"Nov 20 11:20:05 mail postfix/cleanup[12]: 4Cf8: message-id=<a.b@news.example.org>\n"
    b"Nov 20 11:20:06 mail postfix/qmgr[13]: 4Cf8: from=<>, size=900, nrcpt=1 (queue active)\n"
    b"<22>1 2026-11-20T11:20:07.5+01:00 mail postfix/smtp 14 - - 4Cf8: to=<x>, dsn=2.0.0, status=sent (250 ok: queued as 9A)\n"
)
_LOG_SEEDS = [_LOG_LINES, gzip.compress(_LOG_LINES, mtime=0)]
_LIST_SEEDS = [
    (
        b"Email Address,First Name,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LEID,EUID\n"
        b'ada@example.org,"Ada ""L""",2025-03-04 10:00:00,203.0.113.7,2025-03-04 10:05:00,203.0.113.7,1,e1\n'
    ),
    b'email;status;created_at\nada@example.org;enabled;2025-03-04T10:00:00Z\n\n"bo@example.org";"un\nsubscribed";\n',
    "email\tname\nada@example.org\tGrüße\n".encode("utf-16"),
]
_READERSHIP_SEEDS = [
    b'url,views\n/a/b,"1,234"\nhttps://hls.example/c,7\n',
    "Seite;Aufrufe\n/ä;1.234\n".encode("utf-16"),
]


_RECEIVED_SEED = b"""Authentication-Results: mx.example.com; spf=pass smtp.mailfrom=b@news.example.org; dkim=pass header.d=news.example.org; dmarc=pass\r
ARC-Seal: i=1; a=rsa-sha256; cv=none; d=list.example.net; s=k; b=QUJD\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=news.example.org; s=digest; h=from:to:list-unsubscribe:list-unsubscribe-post;\r
 bh=QUJD; b=QUJD\r
From: HLS.Today <digest@news.example.org>\r
To: reader@elsewhere.example\r
List-Unsubscribe: <https://news.example.org/u/abc>\r
List-Unsubscribe-Post: List-Unsubscribe=One-Click\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
<p>Ports get ten days =E2=80=94 <a href=3D"https://u1.ct.sendgrid.net/ls/click?x">Read</a></p>\r
"""


def _examine_mail(body: bytes) -> object:
    return examine_message(ReceivedMessage(body, Settings()))


def _mail_seeds() -> list[bytes]:
    return [file.read_bytes() for file in sorted((ROOT / "tests" / "fixtures" / "mailbox").glob("*.eml"))]


def _settings_seeds() -> list[bytes]:
    return [(ROOT / "digest" / name).read_bytes() for name in ("shipped.toml", "sample/digest.toml")]


def _key_seeds() -> list[bytes]:
    return [_KEYS.to_json().encode(), encrypt_text(_KEYS.to_json(), "a passphrase that is not given").encode()]


def _archive_seed() -> bytes:
    return (ROOT / "tests" / "fixtures" / "revision_1001" / "backup.zip").read_bytes()


def _read_robots(body: bytes) -> object:
    return RobotsRules(lambda _: body, "hls-digest").allows(httpx.URL(URL))


def _read_mail(body: bytes) -> object:
    mail = mime.parse_mime(body)
    return (
        incoming_mail.parse_report(mail),
        incoming_mail.parse_legacy_bounce(mail),
        incoming_mail.read_incoming_mail(body, keys=_KEYS, received_at=NOW),
    )


def _read_log(file: Path) -> object:
    silence = timedelta(hours=1)
    return read_postfix_log([file], ["<a.b@news.example.org>"], zone=UTC, longest_silence=silence, now=NOW)


def _read_keys(file: Path) -> object:
    file.chmod(0o600)
    return KeyRing.load(file)


def _read_archive(file: Path) -> object:
    with closing(ArchiveReader(file)) as archive:
        return archive.verify()


def _read_until(end: float, chance: random.Random, parsers: list[FuzzedParser], result: FuzzResult) -> None:
    while time.monotonic() < end:
        parser = chance.choice(parsers)
        body = random_document(chance, parser.seeds if chance.random() < 0.8 else [*parser.seeds, *SEEDS])
        _read_document(parser, body, result)


def _read_document(parser: FuzzedParser, body: bytes, result: FuzzResult) -> None:
    """Read one document, and note what became of it. Two threads may count at once: a count may be one short."""
    tally, clock = result.tallies[parser.name], time.monotonic if parser.operation else time.thread_time
    most = (
        compute_document_limits(len(body)).wall_seconds + _MAX_WAIT_SECONDS if parser.operation else MAX_PARENT_SECONDS
    )
    problem = ""
    began = clock()
    try:
        parser.read(body)
        tally.read += 1
    except parser.refusals as refusal:
        if _GIVEN_UP in str(refusal):
            tally.given_up += 1
            problem = str(refusal) if _BROKE_OFF in str(refusal) else ""
        else:
            tally.refused += 1
    except Exception as exc:  # noqa: BLE001 - whatever a parser raises is a finding
        problem = f"{type(exc).__name__}: {exc}"
    spent = clock() - began
    tally.slowest = max(tally.slowest, spent)
    if spent > most:
        problem = problem or f"it took {spent:.1f} s, and may take {most:.1f}"
    if problem:
        result.problems.append(f"{parser.name}: {problem} ({len(body):,} bytes, beginning {body[:80]!r})")


def _ask_until_done(port: int, work: list[Future[None]]) -> list[float]:
    answers = []
    while not all(part.done() for part in work):
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"alive\n"
        connection.close()
        answers.append(time.monotonic() - began)
        threading.Event().wait(0.05)
    return answers


if __name__ == "__main__":  # the fuzzing alone, for so many seconds: python -m tests.soak.document_fuzz 60
    logs.configure_logging(logging.WARNING)
    fuzzed = fuzz_documents(float(sys.argv[1]), random.SystemRandom().randrange(1_000_000))
    print(fuzzed.table, *fuzzed.failures, sep="\n")
    sys.exit(bool(fuzzed.failures))
