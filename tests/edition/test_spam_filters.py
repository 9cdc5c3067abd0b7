"""The verdicts of spam filters, if they're installed, on an edition sent now."""

from pathlib import Path

import pytest

from tests.tools.look_harness import build_settings, compose_message, load_content
from tests.tools.spam_filters import ask_rspamd, ask_spamassassin


@pytest.fixture(scope="module")
def message() -> bytes:
    """Give one reader's mail of now, from an edition of 30 entries."""
    return compose_message(load_content(), build_settings({}))[0]


@pytest.mark.spamassassin
def test_spamassassin_gives_an_edition_no_points(message: bytes) -> None:
    report = ask_spamassassin(message)
    assert report.points <= 0, f"{report}"


@pytest.mark.rspamd
def test_rspamd_gives_a_signed_edition_of_a_well_kept_domain_one_point_at_most(message: bytes, tmp_path: Path) -> None:
    report = ask_rspamd(message, tmp_path)
    assert {"R_SPF_ALLOW", "R_DKIM_ALLOW", "DMARC_POLICY_ALLOW"} <= report.symbols.keys(), "it asked our name server"
    assert report.points <= 1, f"{report}"
