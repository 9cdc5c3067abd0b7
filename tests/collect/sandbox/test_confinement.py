"""The files and calls allowed in the sandbox, decided by pure functions, and parsing within it."""

import errno
import io
import re
import struct
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from digest.collect.imaging.encoded_image import CropShape
from digest.collect.imaging.image_codec import READABLE_FORMATS
from digest.collect.parsers import parse_document
from digest.collect.sandbox import client
from digest.collect.sandbox.client import Sandbox
from digest.collect.sandbox.confinement import (
    ARCHITECTURES,
    BROKER_CALLS,
    CHILD_CALLS,
    AllowedCalls,
    build_filter,
    list_code_folders,
    list_readable_paths,
)
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW

URL = "https://www.example.org/a/feed"
ALLOW, NO_SUCH_CALL, KILL = 0x7FFF_0000, 0x0005_0000 | errno.ENOSYS, 0x8000_0000
THREAD_FLAGS, FORK_FLAGS, NAMESPACE_FLAGS = 0x003D_0F00, 0x0120_0011, 0x1000_0011


def judge(program: bytes, audit_number: int, call: int, *arguments: int) -> int:
    """Run a filter as the kernel does: on a `seccomp_data` of a call, its machine and its arguments."""
    data = struct.pack("=IIQ6Q", call, audit_number, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("allowed", [BROKER_CALLS, CHILD_CALLS], ids=["broker", "child"])
def test_the_filter_lets_exactly_the_calls_of_its_list_through(machine: str, allowed: AllowedCalls) -> None:
    architecture = ARCHITECTURES[machine]
    program = build_filter(architecture, allowed)
    numbers = {architecture.calls[name] for name in allowed.names if name in architecture.calls}
    conditional = {architecture.calls[name] for name in allowed.conditions}
    assert not numbers & conditional
    for call in {*range(600), *(0x4000_0000 + number for number in range(600))} - conditional:
        wanted = ALLOW if call in numbers else NO_SUCH_CALL
        assert judge(program, architecture.audit_number, call) == wanted, call
    for other in {each.audit_number for each in ARCHITECTURES.values()} - {architecture.audit_number} | {0x4000_0003}:
        assert judge(program, other, architecture.calls["read"]) == KILL


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_a_child_starts_threads_alone_and_a_broker_no_namespace(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    clone, limits = architecture.calls["clone"], architecture.calls["prlimit64"]
    child, broker = (build_filter(architecture, allowed) for allowed in (CHILD_CALLS, BROKER_CALLS))

    def outcome(program: bytes, call: int, argument: int) -> int:
        return judge(program, architecture.audit_number, call, argument)

    assert [outcome(child, clone, flags) for flags in (THREAD_FLAGS, FORK_FLAGS)] == [ALLOW, NO_SUCH_CALL]
    assert [outcome(broker, clone, flags) for flags in (FORK_FLAGS, NAMESPACE_FLAGS)] == [ALLOW, NO_SUCH_CALL]
    for program in (child, broker):
        assert [outcome(program, limits, process) for process in (0, 1)] == [ALLOW, NO_SUCH_CALL]


def test_no_call_of_the_lists_opens_a_connection_a_program_or_another_process() -> None:
    names = {*BROKER_CALLS.names, *CHILD_CALLS.names, *BROKER_CALLS.conditions, *CHILD_CALLS.conditions}
    dangerous = {
        *("socket", "socketpair", "connect", "bind", "listen", "accept", "sendto", "sendmsg", "execve", "execveat"),
        *("fork", "vfork", "clone3", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd"),
        *("io_uring_setup", "bpf", "perf_event_open", "userfaultfd", "keyctl", "mount", "unshare", "setns", "chmod"),
        *("fchmod", "fchmodat", "chown", "fchownat", "setxattr", "utimensat", "unlink", "unlinkat", "rename", "ioctl"),
    }
    assert not names & dangerous
    assert not {"kill", "prctl", "pipe2", "wait4"} & {*CHILD_CALLS.names}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "lib/packages/a.py",
        "lib/packages/data/keys.json",
        "lib/packages/data/site-packages/b.py",
        "lib/c.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "lib/link").symlink_to(tmp_path / "lib/packages/data")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "opened"),
    [
        ("lib", ["lib/c.py", "lib/packages/a.py"]),
        ("lib/packages", ["lib/packages/a.py"]),
        ("lib/packages/data", []),
        ("lib/packages/data/site-packages", ["lib/packages/data/site-packages"]),
        ("lib/c.py", ["lib/c.py"]),
        ("lib/link", []),
    ],
)
def test_of_a_folder_around_the_home_only_what_lies_beside_it_is_opened(
    tree: Path, place: str, opened: list[str]
) -> None:
    found = list_readable_paths([tree / place], [tree / "lib/packages/data"])
    assert [path.relative_to(tree).as_posix() for path in found] == opened


def test_a_checkouts_own_folder_is_not_opened_only_its_packages() -> None:
    folders = {folder.resolve() for folder in list_code_folders()}
    assert ROOT / "digest" in folders
    assert not [folder for folder in folders if ROOT.is_relative_to(folder)]
    assert {Path(folder).resolve() for folder in zoneinfo.TZPATH} <= folders


LOOK = """
import sys
from pathlib import Path
from digest.collect.sandbox.confinement import confine_sandbox_broker
home, *beside = map(Path, sys.argv[1:])
confine_sandbox_broker([home])
for place in (home / "keys.json", *beside):
    try:
        print(place.read_text())
    except OSError as error:
        print(type(error).__name__)
import wave, digest.collect.sandbox.wire
print("imported")
"""


@pytest.mark.landlock
def test_a_home_within_a_folder_of_code_stays_closed_and_the_code_around_it_open(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    home = packages / "digest-data"
    home.mkdir(parents=True)
    (home / "keys.json").write_text("the keys")
    (packages / "library.py").write_text("code")
    (tmp_path / "digest.env").write_text("a secret")
    arguments = [str(home), str(packages / "library.py"), str(tmp_path / "digest.env")]
    run = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        env={"PYTHONPATH": f"{ROOT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split("\n") == ["PermissionError", "code", "PermissionError", "imported", ""]


def test_an_open_installation_names_its_private_places_to_the_broker(initialized_home: Path) -> None:
    settings = load_settings()
    with open_installation(settings):
        client.SANDBOX.stop()
        broker = client.SANDBOX.ensure_running_broker().process.pid
    words = Path(f"/proc/{broker}/cmdline").read_text().split("\0")
    assert {str(initialized_home), str(settings.environment_place)} <= set(words)
    client.SANDBOX.stop()


SERVICE = """
import ctypes, sys
libc = ctypes.CDLL(None)
denied = libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, as MemoryDenyWriteExecute= has it where the kernel can
assert libc.prctl(38, 1, 0, 0, 0) == 0  # NoNewPrivileges=
from digest.collect.sandbox.client import probe_child_sandbox
print(denied, probe_child_sandbox())
"""


@pytest.mark.landlock
@pytest.mark.seccomp
def test_it_confines_itself_where_no_memory_may_be_written_and_executed() -> None:
    run = subprocess.run([sys.executable, "-c", SERVICE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split(maxsplit=1)[1] == "[]\n"


def test_the_unit_allows_every_call_that_confining_takes() -> None:
    unit = (ROOT / "templates/setup/digest.service").read_text("utf-8")
    filters = " ".join(re.findall(r"^SystemCallFilter=([^~].*)$", unit, re.MULTILINE)).split()
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(filters)
    assert "@system-service" in filters, "it has prctl, by which seccomp is asked for"


@pytest.fixture(scope="module")
def fresh() -> Iterator[Sandbox]:
    """Give children that have parsed nothing yet: what is imported late is imported within the sandbox."""
    sandbox = Sandbox()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "SANDBOX", sandbox)
        yield sandbox
    sandbox.stop()


@pytest.mark.parametrize("name", READABLE_FORMATS)
def test_each_picture_format_is_decoded_in_the_sandbox(fresh: Sandbox, name: str) -> None:
    fresh.stop()
    stream = io.BytesIO()
    Image.new("RGB", (640, 480), "navy").save(stream, name)
    picture = client.encode_image_in_child("fit picture", stream.getvalue(), max_pixels=10_000_000)
    assert (picture.width, picture.height) == (640, 480)
    cut = client.encode_image_in_child("crop picture", stream.getvalue(), shape=CropShape.THUMB, focus=(0.5, 0.5))
    assert cut.body


def test_a_card_is_drawn_in_the_sandbox(fresh: Sandbox) -> None:
    fresh.stop()
    stream = io.BytesIO()
    Image.new("RGB", (640, 480), "navy").save(stream, "JPEG")
    assert client.encode_image_in_child(
        "draw card", stream.getvalue(), name="HLS", issue="No. 1", headline="A headline", focus=(0.5, 0.5)
    ).body


@pytest.mark.parametrize(
    ("charset", "title"),
    [
        ("big5hkscs", "香港"),
        ("iso2022_jp_2004", "日本"),
        ("johab", "한국"),
        ("ptcp154", "Қазақ"),
        ("koi8_t", "Тоҷикон"),
    ],
)
def test_a_rare_charset_is_read_in_the_sandbox(fresh: Sandbox, charset: str, title: str) -> None:
    fresh.stop()
    feed = f"<rss version='2.0'><channel><title>{title}</title><item><title>{title}</title><link>{URL}</link></item></channel></rss>"
    body = feed.encode(charset)
    wanted = parse_document(body, url=URL, now=NOW, charset=charset)
    assert client.parse_document(body, url=URL, now=NOW, charset=charset) == wanted
    assert title in wanted.title


@pytest.mark.parametrize(
    "zone", ["Antarctica/Troll", "Pacific/Chatham", "America/Argentina/ComodRivadavia", "Asia/Kathmandu"]
)
def test_a_rare_time_zone_is_read_in_the_sandbox(fresh: Sandbox, zone: str) -> None:
    fresh.stop()
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:x",
        "BEGIN:VEVENT",
        "UID:1",
        "DTSTAMP:20261101T000000Z",
        f"DTSTART;TZID={zone}:20261201T090000",
        "SUMMARY:Drill",
        f"URL:{URL}",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    (item,) = client.parse_document("\r\n".join(lines).encode(), url=URL, now=NOW).items
    assert item.starts_at == datetime(2026, 12, 1, 9, tzinfo=zoneinfo.ZoneInfo(zone))
