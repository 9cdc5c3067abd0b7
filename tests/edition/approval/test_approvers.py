"""Approvers: no one counts twice, an author alone can't approve their own words, and a sole editor can."""

import pytest

from digest.edition.approval.approvers import ApproverRule, count_missing_approvals

DANA, PRIYA, SAM = "staff 1", "staff 2", "staff 3"
TERMINAL = "terminal:eve"
ALL = (DANA, PRIYA, SAM)


@pytest.mark.parametrize(
    ("rule", "actor", "refusal"),
    [
        (ApproverRule(1, (), (), ALL), DANA, ""),
        (ApproverRule(1, (), (), ALL), TERMINAL, ""),
        (ApproverRule(1, (), (SAM,), ALL), DANA, ""),
        (ApproverRule(1, (), (DANA,), ALL), DANA, "You wrote"),
        (ApproverRule(1, (), (DANA,), ALL), TERMINAL, "--as EMAIL"),
        (ApproverRule(1, (), (DANA,), (DANA,), is_alone=True), DANA, ""),
        (ApproverRule(1, (), (DANA,), (DANA,), is_alone=True), TERMINAL, ""),
        (ApproverRule(1, (), (TERMINAL,), (), is_alone=True), TERMINAL, ""),
        (ApproverRule(1, (), (TERMINAL,), ALL), DANA, ""),
        (ApproverRule(1, (DANA,), (TERMINAL,), ALL), PRIYA, ""),
        (ApproverRule(1, (), (DANA, SAM), ALL), DANA, ""),
        (ApproverRule(1, (DANA,), (DANA, SAM), ALL), DANA, "already"),
        (ApproverRule(1, (DANA,), (DANA, SAM), ALL), SAM, ""),
        (ApproverRule(1, (DANA,), (DANA, SAM), ALL), PRIYA, ""),
        (ApproverRule(2, (PRIYA,), (DANA,), ALL), SAM, ""),
        (ApproverRule(2, (PRIYA,), (DANA,), ALL), PRIYA, "already"),
        (ApproverRule(2, (PRIYA,), (DANA,), ALL), DANA, "You wrote"),
        (ApproverRule(2, (), (DANA,), (DANA,)), DANA, "You wrote"),
        (ApproverRule(2, (), (), ALL), TERMINAL, "--as EMAIL"),
    ],
)
def test_who_may_approve(rule: ApproverRule, actor: str, refusal: str) -> None:
    said = rule.explain_refusal(actor)
    assert refusal in said
    assert bool(refusal) == bool(said)


@pytest.mark.parametrize(
    ("needed", "authors", "signed", "missing"),
    [
        (1, (), (), 1),
        (1, (), (DANA,), 0),
        (1, (), (TERMINAL,), 0),
        (1, (DANA,), (DANA,), 1),
        (1, (DANA,), (SAM,), 0),
        (1, (DANA,), (TERMINAL,), 1),
        (1, (DANA, SAM), (DANA,), 1),
        (1, (DANA, SAM), (DANA, SAM), 0),
        (1, (DANA, SAM), (PRIYA,), 0),
        (1, (TERMINAL,), (DANA,), 1),
        (1, (TERMINAL,), (DANA, SAM), 0),
        (2, (DANA,), (DANA, SAM), 1),
        (2, (DANA, SAM), (DANA, PRIYA), 1),
        (2, (DANA, SAM), (DANA, PRIYA, SAM), 0),
        (2, (), (DANA, DANA), 1),
    ],
)
def test_how_many_approvals_a_version_lacks(
    needed: int, authors: tuple[str, ...], signed: tuple[str, ...], missing: int
) -> None:
    assert count_missing_approvals(needed, authors, signed) == missing


def test_who_may_still_approve_is_listed() -> None:
    assert ApproverRule(2, (PRIYA,), (DANA,), ALL).list_eligible() == [SAM]
    assert ApproverRule(1, (), (DANA,), (DANA,), is_alone=True).list_eligible() == [DANA]
    assert ApproverRule(2, (), (DANA,), (DANA, SAM)).list_eligible() == [SAM]
    assert ApproverRule(1, (DANA,), (DANA, SAM), ALL).list_eligible() == [PRIYA, SAM]
