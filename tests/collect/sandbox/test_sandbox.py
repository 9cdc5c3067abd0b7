"""A document from outside can end the process that reads it, but nothing else."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from digest.collect.documents.parsed_document import ParseError
from digest.collect.parsers import parse_document
from digest.collect.parsers.saved_file import parse_saved_file
from digest.collect.sandbox import client
from digest.collect.sandbox.child import MAX_REPLY_BYTES
from digest.collect.sandbox.client import SANDBOX, DocumentRejectedError, Sandbox, SandboxError
from tests.collect.parsers.test_hostile_documents import SEEDS
from tests.conftest import ROOT, WAIT_TIMEOUT
from tests.moments import AFTER_RELEASE as NOW

URL = "https://www.example.org/a/feed"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Give children that can be asked to misbehave."""
    found = Sandbox("tests.collect.sandbox.trying_broker")
    yield found
    found.stop()


def session_processes(leader: int) -> list[int]:
    """Give the living processes of a session, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"nothing of the kind within {WAIT_TIMEOUT:.0f} s"
        time.sleep(0.02)


def wait_until_gone(leader: int) -> None:
    wait_until(lambda: not session_processes(leader))


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_a_child_gives_what_the_parser_gives(seed: bytes) -> None:
    assert repr(client.parse_document(seed, url=URL, now=NOW)) == repr(parse_document(seed, url=URL, now=NOW))
    saved = {"file_url": "file:///a/saved.html", "site": "https://hls.example/", "now": NOW}
    assert client.parse_saved_file_in_child(seed, **saved) == parse_saved_file(seed, **saved)  # type: ignore[arg-type]


def test_a_parsers_refusal_comes_back_as_its_own_error() -> None:
    with pytest.raises(ParseError, match="The response is empty"):
        client.parse_document(b" ", url=URL, now=NOW)


@pytest.mark.parametrize(
    ("head", "size", "reason"),
    [
        ({"operation": "burn"}, 0, "more than 1 s of CPU time"),
        ({"operation": "sleep"}, 1_000_000, "more than 3 s"),
        ({"operation": "take memory", "bytes": 300_000_000}, 0, "more than 200 MB of memory"),
        ({"operation": "die"}, 0, "signal 11"),
        ({"operation": "answer at length", "bytes": MAX_REPLY_BYTES + 1}, 0, "the content is over 60 MB"),
    ],
    ids=lambda value: value.get("operation", "") if isinstance(value, dict) else "",
)
def test_a_document_over_a_limit_is_refused_with_the_limit_and_the_next_is_read(
    sandbox: Sandbox, head: dict[str, object], size: int, reason: str
) -> None:
    with pytest.raises(DocumentRejectedError, match=reason) as refusal:
        sandbox.run(head, bytes(size))
    assert "remove the source" in str(refusal.value)
    assert sandbox.run({"operation": "take memory", "bytes": 100_000_000}, b"")[0] == {"taken": 100_000_000}


def test_what_is_too_long_to_hand_over_is_refused_at_once() -> None:
    with pytest.raises(ParseError, match="over the limit of 100,000,000"):
        client.parse_document(bytes(100_000_001), url=URL, now=NOW)


def test_many_threads_get_each_their_own_answer_while_others_are_killed(sandbox: Sandbox) -> None:
    def ask(number: int) -> object:
        try:
            head = {"operation": "die"} if number % 5 == 0 else {"operation": "take memory", "bytes": number}
            return sandbox.run(head, b"")[0]["taken"]
        except DocumentRejectedError:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(60)))
    assert answers == ["refused" if number % 5 == 0 else number for number in range(60)]


def test_an_error_of_ours_comes_back_with_its_trace(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"(?s)trying_broker.*internal error"):
        sandbox.run({"operation": "fail"}, b"")


def test_a_child_sees_no_environment_no_settings_and_no_file_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIGEST_SENDGRID_API_KEY", "SG.secret-of-the-house")
    with (tmp_path / "keys.json").open("w"):
        alone = Sandbox("tests.collect.sandbox.trying_broker")
        try:
            around, _ = alone.run({"operation": "look around"}, b"")
            processes = session_processes(alone.ensure_running_broker().process.pid)
            assert around["process"] in processes
            first_environments = "".join(Path(f"/proc/{each}/environ").read_text() for each in processes)
            files = {str(link.readlink()) for link in Path(f"/proc/{around['process']}/fd").iterdir()}
        finally:
            alone.stop()
    assert set(around["environ"]) <= {"LC_CTYPE"}
    assert "secret-of-the-house" not in first_environments
    assert "PYTHONPATH" in first_environments
    assert not [
        name for name in around["modules"] if name.startswith(("digest.settings", "digest.store", "sqlalchemy"))
    ]
    assert not [name for name in around["modules"] if name.startswith("subscribers.crypto")]
    assert len(files) == 3, "nothing, and its own two pipes"
    assert {name.partition(":")[0] for name in files} == {"/dev/null", "pipe"}


def test_stopping_leaves_no_process_and_the_next_document_starts_anew() -> None:
    alone = Sandbox("tests.collect.sandbox.trying_broker")
    before = alone.ensure_running_broker().process.pid
    assert alone.run({"operation": "take memory", "bytes": 1}, b"")[0]["taken"] == 1
    assert len(session_processes(before)) > 1
    alone.stop()
    wait_until_gone(before)
    assert alone.run({"operation": "take memory", "bytes": 2}, b"")[0]["taken"] == 2
    assert alone.ensure_running_broker().process.pid != before
    alone.stop()


def test_a_killed_broker_is_started_again_and_leaves_no_child(sandbox: Sandbox) -> None:
    sandbox.run({"operation": "take memory", "bytes": 1}, b"")
    before = sandbox.ensure_running_broker().process.pid
    os.kill(before, signal.SIGKILL)
    assert sandbox.run({"operation": "take memory", "bytes": 2}, b"")[0]["taken"] == 2
    wait_until_gone(before)


def test_a_broker_that_takes_no_request_any_more_is_replaced_at_once(sandbox: Sandbox) -> None:
    sandbox.run({"operation": "take memory", "bytes": 1}, b"")
    pipe = sandbox.ensure_running_broker().process.stdin
    assert pipe
    pipe.close()  # as a broker that was just killed: writing fails before its end is noticed
    assert sandbox.run({"operation": "take memory", "bytes": 2}, b"")[0]["taken"] == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_that_are_killed_from_outside_cost_no_document(
    sandbox: Sandbox, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    idle = sandbox.run({"operation": "look around"}, b"")[0]["process"]
    os.kill(idle, number)
    wait_until(lambda: idle not in session_processes(sandbox.ensure_running_broker().process.pid))
    assert sandbox.run({"operation": "take memory", "bytes": 1}, b"")[0]["taken"] == 1
    assert not capfd.readouterr().err


def test_a_child_that_is_told_to_stop_midway_is_replaced_and_its_document_read_again(tmp_path: Path) -> None:
    alone = Sandbox("tests.collect.sandbox.trying_broker")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(alone.run, {"operation": "rest", "until": str(tmp_path / "go on")}, b"")
        broker = alone.ensure_running_broker().process.pid
        wait_until(lambda: len(session_processes(broker)) == 2)
        child = next(each for each in session_processes(broker) if each != broker)

        def is_gone() -> bool:  # until it is one, a child ignores what its broker ignores
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
            return child not in session_processes(broker)

        wait_until(is_gone)
        (tmp_path / "go on").touch()
        assert waiting.result()[0]["process"] != child
    alone.stop()


def test_a_child_reads_twenty_documents_and_no_more_after_a_large_one() -> None:
    alone = Sandbox("tests.collect.sandbox.trying_broker")
    subscribers = [
        alone.run({"operation": "look around"}, bytes(size))[0]["process"] for size in [0] * 21 + [2_000_000, 0]
    ]
    alone.stop()
    assert len(set(subscribers[:20])) == 1
    assert subscribers[20] != subscribers[19]
    assert subscribers[21] == subscribers[20]
    assert subscribers[22] not in subscribers[:22]


PARENT = """
import threading, time
from digest.collect.sandbox.client import Sandbox
sandbox = Sandbox("tests.collect.sandbox.trying_broker")
sandbox.run({"operation": "take memory", "bytes": 1}, b"")
threading.Thread(target=sandbox.run, args=({"operation": "sleep"}, b""), daemon=True).start()
time.sleep(0.3)
print(sandbox.ensure_running_broker().process.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_leaves_no_child_not_even_one_that_waits() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        broker = int(parent.stdout.readline())
        assert len(session_processes(broker)) > 1
        parent.kill()
        wait_until_gone(broker)


def test_a_program_that_ends_says_nothing_and_leaves_no_child() -> None:
    program = (
        "from digest.collect.sandbox.client import SANDBOX, parse_document\n"
        "from datetime import datetime, UTC\n"
        "parse_document(b'BEGIN:VCALENDAR\\nEND:VCALENDAR', url='https://a.example/', now=datetime.now(UTC))\n"
        "print(SANDBOX.ensure_running_broker().process.pid)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    wait_until_gone(int(run.stdout))


def test_all_that_is_read_here_is_read_by_one_broker() -> None:
    client.parse_document(SEEDS[0], url=URL, now=NOW)
    before = SANDBOX.ensure_running_broker().process.pid
    client.parse_document(SEEDS[1], url=URL, now=NOW)
    assert SANDBOX.ensure_running_broker().process.pid == before


def test_only_children_import_what_parses() -> None:
    parsing = {"feedparser", "trafilatura", "icalendar", "digest.collect.parsers"}
    imported = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(parsing)})\b", re.MULTILINE)
    children_only = (
        "digest/collect/parsers/",
        "digest/collect/sandbox/child_operations.py",
        "digest/collect/texts/dates.py",
    )
    writes_calendars = "digest/app/editions/edition_dates.py"  # from what editions say; it reads none
    for file in [ROOT / "scheduler.py", *(ROOT / "digest").rglob("*.py")]:
        name = file.relative_to(ROOT).as_posix()
        assert name.startswith((*children_only, writes_calendars)) or not imported.search(file.read_text("utf-8")), name
    program = "import sys, scheduler, digest.cli, digest.web.app, digest.edition.drafting.image_preparation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not parsing & set(loaded)
