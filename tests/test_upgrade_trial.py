"""The trial upgrade from the last release reports what was lost, and clearly says if there's no release yet.

`.ci/run` runs the trial itself: it builds and installs two wheels.
"""

import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from build_version import LAST_RELEASE, list_changelog_sections
from tests.conftest import ROOT
from tests.tools.upgrade_release import InstallationState, find_losses, find_send_faults, main, reader, write_answers

STATE = InstallationState({"subscribed": 39, "withdrawn": 1}, {"planned": 39, "accepted": 15}, ("a", "b"))
SENT = {"planned": 39, "accepted": 36, "uncertain": 2, "withdrawn": 1}
RECIPIENTS = Counter(reader(number) for number in range(38))
UNSUBSCRIBED = {reader(38), reader(39)}


def test_without_a_release_it_is_skipped_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new.whl"], last_release="") == 0
    assert capsys.readouterr().out.startswith("UPGRADE SKIPPED: ")


def test_the_last_release_is_a_commit_once_the_changelog_has_one() -> None:
    _, *released_before = list_changelog_sections(ROOT)  # the first is what's being prepared or released
    assert bool(released_before) == bool(LAST_RELEASE)
    if LAST_RELEASE:
        subprocess.run(["git", "cat-file", "-e", f"{LAST_RELEASE}^{{commit}}"], cwd=ROOT, check=True)


def test_an_upgrade_that_only_adds_to_the_audit_log_loses_nothing() -> None:
    assert list(find_losses(STATE, replace(STATE, audit_rows=("a", "b", "upgraded")))) == []


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"people": {"subscribed": 38, "withdrawn": 1}}, "people"),
        ({"people": {"subscribed": 40, "withdrawn": 0}}, "people"),
        ({"deliveries": {"planned": 38, "accepted": 15}}, "deliveries"),
        ({"deliveries": {"planned": 39, "accepted": 14}}, "deliveries"),
        ({"audit_rows": ("a",)}, "audit log"),
    ],
)
def test_what_an_upgrade_lost_is_named(changed: dict[str, object], word: str) -> None:
    (loss,) = find_losses(STATE, replace(STATE, **changed))  # type: ignore[arg-type]
    assert loss.startswith(word)


def test_a_whole_send_has_no_fault_also_if_unknown_messages_did_not_arrive() -> None:
    assert list(find_send_faults(SENT, RECIPIENTS, UNSUBSCRIBED)) == []
    assert list(find_send_faults(SENT, RECIPIENTS - Counter([reader(0), reader(1)]), UNSUBSCRIBED)) == []


@pytest.mark.parametrize(
    ("recipients", "counts", "words"),
    [
        (RECIPIENTS + Counter([reader(0)]), {}, "1 people were sent the edition twice"),
        (RECIPIENTS - Counter(map(reader, range(3))), {}, "35 people were sent the edition, of 38"),
        (RECIPIENTS - Counter([reader(0)]) + Counter([reader(38)]), {}, "1 people were sent the edition after"),
        (RECIPIENTS, {"accepted": 35}, "deliveries: "),
    ],
)
def test_what_is_wrong_with_the_rest_of_the_send_is_named(
    recipients: Counter[str], counts: dict[str, int], words: str
) -> None:
    (fault,) = find_send_faults(SENT | counts, recipients, UNSUBSCRIBED)
    assert fault.startswith(words)


def test_the_answers_of_the_guide_are_those_of_this_machine() -> None:
    guide = Path(ROOT / "docs" / "setup.md").read_text("utf-8")
    answers = write_answers(guide, 2525, "sqlite").splitlines()
    assert {"smtp_port = 2525", "database = 'sqlite'", "subscribers = 0"} < set(answers)
