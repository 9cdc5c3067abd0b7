import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.logs import REDACTED, redact_addresses, redact_event

LOCAL = st.text("abcdefghijklmnopqrstuvwxyz0123456789.+-_", min_size=1, max_size=30)


@given(LOCAL, LOCAL)
def test_no_address_gets_into_a_line(local: str, domain: str) -> None:
    address = f"{local}@{domain}.example"
    event = {
        "event": f"refused <{address}>",
        "reply": f"550 5.1.1 {address}: no such user",
        "nested": {"to": [address, ("x", f"mailto:{address}")]},
        "exception": f"Traceback…\nValueError: '{address}'",
    }
    written = repr(redact_event(None, "info", event))
    assert address not in written
    assert f"@{domain}" not in written
    assert REDACTED in written


@pytest.mark.parametrize(
    "written",
    [
        "o'brien@example.org",
        '"ada smith"@example.org',
        "ada%40example.org",
        "mailto:ada+x@example.org?subject=y",
        "<a@b>",
    ],
)
def test_odd_but_legal_addresses_are_taken_out_whole(written: str) -> None:
    redacted = redact_addresses(f"550 {written}: no such user")
    assert not [part for part in ("brien", "ada", "smith", "example.org", "a@b") if part in redacted]
    assert "no such user" in redacted


def test_what_is_no_address_stays() -> None:
    assert redact_addresses("550 5.1.1 no such user") == "550 5.1.1 no such user"
    assert redact_addresses({"count": 3, "at": None}) == {"count": 3, "at": None}


def test_a_line_of_one_endless_word_does_not_hold_the_process() -> None:
    """In a child with 10 s of processor time: tried at every character, the pattern would take two minutes."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "from digest.logs import redact_addresses\n"
        "for word in ('x', '%', 'x\\'', '\\\\'):\n"
        "    assert redact_addresses('550 ' + word * 100_000 + ' ada@example.org').endswith('[address]')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_librarys_warning_is_one_line_in_utc_with_its_values_quoted(log_format: str) -> None:
    """ASVS 16.2.2 and 16.4.1: a line break in a value forges no line, and the machine's own time zone is not used."""
    code = (
        "import logging\n"
        "from digest import logs\n"
        "logs.configure_logging()\n"
        "forged = 'x\\n2026-11-19T22:30:00Z info signed in\\r\\x1b[2J\\u2028ada@example.org'\n"
        "logging.getLogger('library').warning('refused %s', forged)\n"
        "try: int(forged)\n"
        "except ValueError: logging.getLogger('library').exception('no number')\n"
    )
    environ = os.environ | {"DIGEST_LOG_FORMAT": log_format, "TZ": "Asia/Tokyo"}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ)
    first, second = run.stderr.splitlines()
    for line in (first, second):
        assert not {"\r", "\x1b", "\u2028"} & set(line)
        assert "ada@" not in line
        time = re.search(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line)
        assert time is not None
        age = datetime.now(UTC) - datetime.fromisoformat(time[0])
        assert abs(age.total_seconds()) < 3600, "UTC, not the machine's time"
    assert "warning" in first
    assert "library" in first
    assert "ValueError" in second


def test_as_json_every_line_is_an_object_without_an_address() -> None:
    code = (
        "import logging, structlog\n"
        "from digest import logs\n"
        "logs.configure_logging()\n"
        "structlog.get_logger('x').info('refused', to='ada@example.org', count=3)\n"
        "logging.getLogger('library').warning('550 %s', 'ada@example.org')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('library').exception('no')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"DIGEST_LOG_FORMAT": "json"},
    )
    ours, library, failed = map(json.loads, run.stderr.splitlines())
    assert (ours["event"], ours["to"], ours["count"], ours["level"]) == ("refused", "[address]", 3, "info")
    assert (library["event"], library["logger"], library["level"]) == ("550 [address]", "library", "warning")
    assert "ZeroDivisionError" in failed["exception"]
    assert {line["timestamp"][-1] for line in (ours, library, failed)} == {"Z"}
