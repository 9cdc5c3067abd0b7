"""Spam filters' verdicts on a finished message: SpamAssassin without the network, rspamd with our own name server.

rspamd sees the message as a receiver would: signed, from a server whose name, SPF, DKIM key and DMARC policy the DNS gives.
"""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from digest.deliver.compose.dkim import DkimSigner, SigningKey
from tests.app.doctor.fake_name_server import FakeNameServer, Records
from tests.conftest import WAIT_TIMEOUT, reserve_port

DOMAIN, HOST, NETWORK_ADDRESS = "news.example.org", "mail.news.example.org", "192.0.2.10"
# Its own files with nothing that asks the network but the DNS; compiling its patterns would take longer than all else.
_RSPAMD_SETTINGS = """
.include "$CONFDIR/common.conf"
options {{
    .include "$CONFDIR/options.inc"
    .include(duplicate=merge,priority=10) "{folder}/options.inc"
}}
logging {{ type = "console"; level = "error"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; mime = true; }}
"""
_RSPAMD_OPTIONS = """
pidfile = "{folder}/rspamd.pid";
control_socket = "{folder}/control.sock mode=0600";
url_tld = "{folder}/domains.txt";
disable_hyperscan = true;
dns {{ nameserver = ["127.0.0.1:{dns_port}"]; timeout = 5s; retransmits = 2; }}
"""


@dataclass(frozen=True, slots=True)
class SpamReport:
    """The points of a message, and the rules that gave or took some."""

    points: float
    symbols: Mapping[str, float]

    def __str__(self) -> str:
        """Write the points, and the rules that gave some."""
        gave = ", ".join(f"{name} {points}" for name, points in self.symbols.items() if points > 0)
        return f"{self.points} ({gave or 'no rule gave any'})"


def ask_spamassassin(message: bytes) -> SpamReport:
    """Ask SpamAssassin's own rules, without the network."""
    report = _run(["spamassassin", "-L", "-t"], message)
    points = re.search(r"\((-?[\d.]+) points, [\d.]+ required\)", report)
    if points is None:
        raise OSError(f"SpamAssassin gives no points: {report[-500:]}")
    listed = re.findall(r"^ *(-?[\d.]+) ([A-Z0-9]+_[A-Z0-9_]+) ", report, re.MULTILINE)
    return SpamReport(float(points[1]), {name: float(value) for value, name in listed})


def ask_rspamd(message: bytes, folder: Path) -> SpamReport:
    """Start an rspamd of our own, and ask it about a message of `DOMAIN`, which is signed here first."""
    key = SigningKey("s1", generate_private_key(65537, 2048))
    signer = DkimSigner(DOMAIN, (key,))
    file = folder / "signed.eml"
    file.write_bytes(signer.sign_message(message) + message)
    with FakeNameServer(_list_records(key)) as names, _run_rspamd(folder, names.server_address[1]) as server:
        asked = ["rspamc", "-h", server, "-i", NETWORK_ADDRESS, "--hostname", HOST, "--helo", HOST]
        report = _run([*asked, "--from", f"digest@{DOMAIN}", str(file)])
    symbols = {name: float(value) for name, value in re.findall(r"Symbol: (\w+) \((-?[\d.]+)\)", report)}
    if not symbols:
        raise OSError(f"rspamd gives no rules: {report[-500:]}")
    return SpamReport(round(sum(symbols.values()), 2), symbols)


def _list_records(key: SigningKey) -> Records:
    """Return what the DNS of a well-kept sender says."""
    text = key.dns_record()
    return {
        (DOMAIN, "TXT"): [f'"v=spf1 a:{HOST} -all"'],
        (DOMAIN, "MX"): [f"10 {HOST}."],
        (DOMAIN, "A"): [NETWORK_ADDRESS],
        (HOST, "A"): [NETWORK_ADDRESS],
        ("10.2.0.192.in-addr.arpa", "PTR"): [f"{HOST}."],
        (f"{key.selector}._domainkey.{DOMAIN}", "TXT"): [f'"{text[:200]}" "{text[200:]}"'],
        (f"_dmarc.{DOMAIN}", "TXT"): ['"v=DMARC1; p=quarantine"'],
    }


@contextmanager
def _run_rspamd(folder: Path, dns_port: int) -> Iterator[str]:
    """Run rspamd on loopback with all its files in a folder; lend its address once it listens."""
    with reserve_port() as port:
        settings = folder / "rspamd.conf"
        (folder / "domains.txt").write_text(
            "com\norg\n"
        )  # in place of the public suffix list, whose compiling takes seconds
        settings.write_text(_RSPAMD_SETTINGS.format(folder=folder, port=port))
        (folder / "options.inc").write_text(_RSPAMD_OPTIONS.format(folder=folder, dns_port=dns_port))
    command = ["rspamd", "-f", "-i", "-c", str(settings)]
    command += [f"--var={name}={folder}" for name in ("DBDIR", "RUNDIR", "LOGDIR")]
    with (folder / "rspamd.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 2 * WAIT_TIMEOUT
            while "Symbol" not in _run(["rspamc", "-h", f"127.0.0.1:{port}"], b"Subject: up?\r\n\r\nup?\r\n"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"rspamd does not start: {(folder / 'rspamd.log').read_text()[-1000:]}")
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _run(command: list[str], stdin: bytes | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=180)
    return done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
