"""Upgrade an installation from the last release to a new wheel during a send: `python -m tests.tools.upgrade_release WHEEL [COMMIT]`.

The wheel of COMMIT (default: `LAST_RELEASE` of `build_version.py`) is installed with the libraries of its time. On SQLite and on
PostgreSQL, it sets up an installation, imports subscribers, and sends an edition until it's killed in the middle. Then pip
installs WHEEL over it, `digest upgrade` runs, someone unsubscribes by a link of before, and the rest of the edition is sent.
After that, the old version is installed again and restores the backup that the upgrade made.
Exits with 1 if anything was lost, repeated, or sent to someone who unsubscribed. Prints UPGRADE SKIPPED if there's no release yet.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session

from benchmarks.databases import DATABASE_KINDS, fresh_database
from build_version import LAST_RELEASE
from tests.conftest import ROOT, reserve_port
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.tools.build_release import build_wheel
from tests.tools.walk_setup import SAMPLE_FILES, SAMPLE_NOW, bare_environment, run_process, wait_until

SUBSCRIBERS, SENT_BEFORE = 40, 15
UNSUBSCRIBED_SINCE = 2  # with the new version
UNSUBSCRIBED_BEFORE = "reader1@elsewhere.example"
LIBRARIES = "lib/python3*/site-packages/digest/constraints.txt"
SEND_EXIT_CODES = (0, 3)  # all is sent, perhaps with unknown statuses


@dataclass(frozen=True)
class InstallationState:
    """What an installation contains at one moment, as its commands show it."""

    people: dict[str, int]
    deliveries: dict[str, int]
    audit_rows: tuple[str, ...]


@dataclass
class KillingHandler(RecordingHandler):
    """Records messages, and kills the process that sends them after some."""

    sender: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        super().__init__()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        answer = await super().handle_DATA(server, session, envelope)
        if self.sender and len(self.messages) >= SENT_BEFORE:
            self.sender.kill()
        return answer

    @property
    def recipients(self) -> Counter[str]:
        """How many messages each address was sent."""
        return Counter(address for _, addresses, _ in self.messages for address in addresses)


@dataclass
class UpgradeTrial:
    """One installation on one kind of database. `program` is whichever version is installed, `release` the old one's checkout."""

    program: Path
    folder: Path
    release: Path
    mail: KillingHandler = field(default_factory=KillingHandler)
    before: InstallationState = InstallationState({}, {}, ())

    def run(self, *words: str, ok: Sequence[int] = (0,), text: str | None = None) -> str:
        """Run a command in the installation's folder, and return what it printed.

        Raises:
            AssertionError: its exit code is another one.
        """
        command = [str(self.program), *words]
        done = subprocess.run(
            command, cwd=self.folder, env=bare_environment(), input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode in ok, f"digest {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def begin_send(self, database: str, stack: ExitStack) -> None:
        """Set everything up with the old version, and have its send killed in the middle."""
        self.folder.mkdir()
        answers = self.folder / "answers.toml"
        answers.touch(mode=0o600)
        mail_port = stack.enter_context(run_smtp_server(self.mail))
        guide = (self.release / "docs" / "setup.md").read_text("utf-8")
        answers.write_text(write_answers(guide, mail_port, database), "utf-8")
        self.run("setup", "--batch", "--answers", str(answers))
        readers = self.folder / "list.csv"
        readers.write_text("".join(["email\n", *(f"{reader(number)}\n" for number in range(SUBSCRIBERS))]), "utf-8")
        self.run("subscribers", "import", str(readers), "--attest", "paper sign-up sheet", "--commit")
        self.run("subscribers", "unsubscribe", "-", "--reason", "asked by phone", text=UNSUBSCRIBED_BEFORE)
        sample = self.release / "digest" / "sample"
        self.run("collect", "--now", SAMPLE_NOW, *(str(sample / name) for name in SAMPLE_FILES))
        self.run("draft", "--now", SAMPLE_NOW)
        (mark,) = re.findall(r"digest approve \S+ ([0-9a-f]{7,})", self.run("approve", "current"))
        self.run("approve", "current", mark)
        command = [str(self.program), "send", "current", "--yes"]
        self.mail.sender = subprocess.Popen(
            command, cwd=self.folder, env=bare_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self.mail.sender.wait() == -signal.SIGKILL, "the send ended before it was killed"
        self.mail.sender = None
        self.before = self.read_state()

    def read_state(self) -> InstallationState:
        """Read what the installation contains."""
        status: dict[str, Any] = json.loads(self.run("status", "current", "--json", ok=(0, 1)))
        people: dict[str, Any] = json.loads(self.run("subscribers", "list", "--json"))
        rows = self.run("audit", "--json", "--count", "100000").splitlines()
        counts = {name: value for name, value in status.items() if isinstance(value, int)}
        return InstallationState(people, counts, tuple(rows))

    def unsubscribe_by_old_link(self) -> None:
        """Unsubscribe someone who got the edition by the link in the email of the old version (RFC 8058)."""
        _, _, raw = self.mail.messages[0]
        link = str(message_from_bytes(raw, policy=policy.default)["List-Unsubscribe"]).strip("<>")
        with ExitStack() as stack, reserve_port() as port:
            log = stack.enter_context((self.folder / "serve.log").open("w"))
            words = [str(self.program), "serve", "--no-schedule", "--port", str(port)]
            stack.enter_context(run_process(words, self.folder, log))
            headers = {"X-Forwarded-For": "192.0.2.7"}
            client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers))

            def is_ready() -> bool | None:
                with suppress(httpx.TransportError):
                    return client.get("/readyz").status_code == httpx.codes.OK or None
                return None

            wait_until(is_ready, "the pages of the new version")
            answer = client.post(urlsplit(link).path, data={"List-Unsubscribe": "One-Click"})
            assert answer.status_code == httpx.codes.OK, answer.text

    def upgrade_and_finish(self) -> Iterator[str]:
        """Upgrade, unsubscribe two people, send the rest with the new version, and yield what was lost."""
        unreached = [reader(number) for number in range(SUBSCRIBERS) if reader(number) not in self.mail.recipients]
        (late,) = [address for address in unreached if address != UNSUBSCRIBED_BEFORE][:1]
        self.run("upgrade")
        after = self.read_state()
        yield from find_losses(self.before, after)
        self.unsubscribe_by_old_link()
        self.run("subscribers", "unsubscribe", "-", "--reason", "asked by phone", text=late)
        self.run("send", "current", "--yes", "--wait", ok=SEND_EXIT_CODES)
        self.run("subscribers", "verify")
        counts = self.read_state().deliveries
        yield from find_send_faults(counts, self.mail.recipients, {UNSUBSCRIBED_BEFORE, late})

    def go_back(self) -> Iterator[str]:
        """Go on with the old version, after restoring the upgrade's backup if there is one, and yield what was lost."""
        for backup in self.folder.rglob("before-upgrade-*"):  # unless both versions have the same schema
            self.run("restore", str(backup), "--replace", "--yes")
        self.run("subscribers", "verify")
        people = self.read_state().people
        if sum(people.values()) != sum(self.before.people.values()):
            yield f"people after going back: {people}, before the upgrade {self.before.people}"
        if people["subscribed"] > self.before.people["subscribed"] - UNSUBSCRIBED_SINCE:
            yield f"people who unsubscribed since the upgrade are subscribed after going back: {people}"


def find_losses(before: InstallationState, after: InstallationState) -> Iterator[str]:
    """Yield what the upgrade lost or changed."""
    if before.people != after.people:
        yield f"people by state: {before.people} before, {after.people} after"
    if before.deliveries != after.deliveries:
        yield f"deliveries: {before.deliveries} before, {after.deliveries} after"
    if len(after.audit_rows) < len(before.audit_rows):
        yield f"audit log: {len(before.audit_rows)} rows before, {len(after.audit_rows)} after"


def find_send_faults(deliveries: dict[str, int], recipients: Counter[str], unsubscribed: set[str]) -> Iterator[str]:
    """Yield what's wrong with a finished send: `recipients` says how many messages each address was sent."""
    repeated = sum(count > 1 for count in recipients.values())
    if repeated:
        yield f"{repeated} people were sent the edition twice"
    if wrong := unsubscribed & recipients.keys():
        yield f"{len(wrong)} people were sent the edition after they unsubscribed"
    owed, unknown = deliveries["planned"] - deliveries["withdrawn"], deliveries["uncertain"]
    if not owed - unknown <= len(recipients) <= owed:
        yield f"{len(recipients)} people were sent the edition, of {owed}; {unknown} messages have an unknown status"
    if deliveries["accepted"] + unknown != owed:
        yield f"deliveries: {deliveries}"


def reader(number: int) -> str:
    """Return the address of a subscriber."""
    return f"reader{number}@elsewhere.example"


def write_answers(guide: str, mail_port: int, database: str) -> str:
    """Return the answers in docs/setup.md for this machine's mail server and a database."""
    _, _, rest = guide.partition("```toml\n")
    answers, _, _ = rest.partition("```")
    own = {"smtp_host": "127.0.0.1", "smtp_port": mail_port, "database": database, "subscribers": 0}
    for key, value in own.items():
        answers = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value!r}", answers)
    return answers


def install(environment: Path, wheel: Path, pins: Path | None = None) -> None:
    """Install a wheel as docs/maintenance.md does, with the libraries that it or a file pins.

    Raises:
        subprocess.CalledProcessError: pip can't.
    """
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--no-deps", "--upgrade", str(wheel)], check=True)
    pins = pins or next(environment.glob(LIBRARIES))
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(pins)], check=True)


def install_release(commit: str, environment: Path, checkout: Path) -> None:
    """Check a commit out, build its wheel, and install that into a new environment with the libraries of its time.

    Raises:
        subprocess.CalledProcessError: this clone doesn't have the commit, or it can't be built or installed.
    """
    subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(checkout)], check=True)
    subprocess.run(["git", "-C", str(checkout), "checkout", "--quiet", commit], check=True)
    venv.create(environment, with_pip=True)
    install(environment, build_wheel(checkout, environment / "dist"), checkout / "requirements.txt")


def try_upgrade(wheel: Path, commit: str) -> list[str]:
    """Upgrade from a commit to a wheel on each kind of database, and return what was lost."""
    with tempfile.TemporaryDirectory(prefix="digest-upgrade-", dir="/tmp") as name, ExitStack() as stack:
        scratch = Path(name)
        environment, release = scratch / "venv", scratch / "release"
        install_release(commit, environment, release)
        program = environment / "bin" / "digest"
        trials = {kind: UpgradeTrial(program, scratch / kind, release) for kind in DATABASE_KINDS}
        for kind, trial in trials.items():
            url = "sqlite" if kind == "sqlite" else stack.enter_context(fresh_database(kind, scratch))
            trial.begin_send(url, stack)
        before = trials["sqlite"].run("--version")
        install(environment, wheel)
        after = trials["sqlite"].run("--version")
        print(f"upgraded from {before.split()[-1]} to {after.split()[-1]}")
        faults = [f"pip kept {before.strip()}"] if before == after else []
        faults += [f"{kind}: {fault}" for kind, trial in trials.items() for fault in trial.upgrade_and_finish()]
        install(environment, next((environment / "dist").glob("*.whl")), release / "requirements.txt")
        return faults + [f"{kind}: {fault}" for kind, trial in trials.items() for fault in trial.go_back()]


def main(arguments: Sequence[str], last_release: str = LAST_RELEASE) -> int:
    """Try the upgrade, print what was lost, and return the exit status."""
    wheel, commit = Path(arguments[0]), arguments[1] if len(arguments) > 1 else last_release
    if not commit:
        print("UPGRADE SKIPPED: build_version.py doesn't name a last release yet.")
        return 0
    began = time.monotonic()
    faults = try_upgrade(wheel, commit)
    print(
        "\n".join(faults)
        or f"nothing was lost, repeated, or sent to the wrong people in {time.monotonic() - began:.0f} s"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
