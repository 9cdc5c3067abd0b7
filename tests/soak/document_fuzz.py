"""Random documents for every parser, through the children, while the pages of the same process are asked if they live."""

import http.client
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from digest.app.installation import Installation
from digest.collect.encoded_image import ImageError
from digest.collect.parsed_document import ParseError
from digest.collect.sandbox import client
from digest.collect.sandbox.client import SANDBOX
from digest.settings import Settings
from digest.store.engine import migrate_schema, open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.crypto.keys import KeyRing
from tests.collect.parsers.test_hostile_documents import NOW, SEEDS

URL = "https://www.example.org/a/feed"
MAX_ANSWER_SECONDS = 0.1
_MAX_REPEATED_BYTES = 300_000
_GIVEN_UP = "Reading it was given up"


@dataclass(frozen=True)
class FuzzResult:
    """What came of some minutes of random documents. `answers` are the seconds of each answer of /healthz, sorted."""

    seed: int
    read: int
    refused: int
    over_limits: tuple[str, ...]
    slowest_document: float
    answers: tuple[float, ...]

    @property
    def failures(self) -> list[str]:
        """What should not have happened."""
        late = sum(answer >= MAX_ANSWER_SECONDS for answer in self.answers)
        slow = [f"{late} of {len(self.answers)} answers took {MAX_ANSWER_SECONDS} s or longer"] if late else []
        return [*self.over_limits, *slow]

    @property
    def summary(self) -> str:
        """Say it in a sentence or two."""
        return (
            f"{self.read + self.refused + len(self.over_limits):,} random documents and pictures (seed {self.seed}), "
            f"{self.refused:,} of them refused by their parser, {len(self.over_limits)} over a limit or broken off; "
            f"the slowest took {self.slowest_document:.1f} s. /healthz was asked {len(self.answers):,} times meanwhile: "
            f"half answered within {self.answers[len(self.answers) // 2] * 1000:.0f} ms, the slowest in "
            f"{self.answers[-1] * 1000:.0f} ms."
        )


def fuzz_documents(seconds: float, seed: int, *, threads: int = 2) -> FuzzResult:
    """Read random documents for so long, and ask /healthz all the while."""
    counts, problems, times = Counter[str](), list[str](), list[float]()
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = Settings(home=Path(folder))
        KeyRing.create(settings.key_file)
        with closing(open_database(settings.effective_database_url)) as database:
            migrate_schema(database)
            SANDBOX.running_broker()
            app = create_app(Installation(settings, database))
            with open_page_server(app, "127.0.0.1", 0) as serving, ThreadPoolExecutor(threads) as pool:
                end = time.monotonic() + seconds
                work = [
                    pool.submit(_read_until, end, random.Random(seed + number), counts, problems, times)
                    for number in range(threads)
                ]
                answers = _ask_until_done(serving.port, work)
                for done in work:
                    done.result()
    return FuzzResult(seed, counts["read"], counts["refused"], tuple(problems), max(times), tuple(sorted(answers)))


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


def _picture_seeds() -> list[bytes]:
    seeds = []
    for kind in ("JPEG", "PNG", "GIF", "WEBP"):
        out = io.BytesIO()
        Image.linear_gradient("L").resize((200, 150)).convert("RGB").save(out, kind)
        seeds.append(out.getvalue())
    return seeds


def _readers() -> list[tuple[list[bytes], Callable[[bytes], object]]]:
    def read_saved(body: bytes) -> object:
        return client.parse_saved_file(body, file_url="file:///saved.txt", site="https://hls.example/", now=NOW)

    return [
        *[(SEEDS, lambda body: client.parse_document(body, url=URL, now=NOW))] * 3,
        (SEEDS, read_saved),
        (_picture_seeds(), lambda body: client.fit_in_child(body, max_pixels=40_000_000)),
    ]


def _read_until(
    end: float, chance: random.Random, counts: Counter[str], problems: list[str], times: list[float]
) -> None:
    readers = _readers()
    while time.monotonic() < end:
        seeds, read = chance.choice(readers)
        body = random_document(chance, seeds)
        began = time.monotonic()
        try:
            read(body)
            counts["read"] += 1
        except (ParseError, ImageError) as refusal:
            if _GIVEN_UP in str(refusal):
                problems.append(f"{refusal} ({len(body):,} bytes, beginning {body[:80]!r})")
            else:
                counts["refused"] += 1
        times.append(time.monotonic() - began)


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
