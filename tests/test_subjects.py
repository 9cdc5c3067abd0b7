"""The check of commit subjects: which ones pass, and the messages about others."""

import pytest

from tests.tools.check_subjects import find_faults


@pytest.mark.parametrize(
    "subject",
    [
        "Seal a session's number",
        "Address the editor by name",
        "Feed the parser in pieces",
        "Bring back order",
        "Merge people-and-a-very-long-name " * 3,
    ],
)
def test_an_imperative_passes(subject: str) -> None:
    assert find_faults(subject) == []


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        ("Sealed a session's number", "not in the imperative"),
        ("Seals a session's number", "not in the imperative"),
        ("Sealing a session's number", "not in the imperative"),
        ("25: seal a session's number", "not in the imperative"),
        ("seal a session's number", "doesn't begin with a capital letter"),
        ("Seal a session's number.", "ends with a period"),
        ("Seal " + "a" * 70, "longer than 72 characters (75)"),
    ],
)
def test_a_fault_is_named(subject: str, fault: str) -> None:
    assert fault in find_faults(subject)
