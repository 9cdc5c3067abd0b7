"""Who may approve: not the last to have edited, nobody twice, and one who works alone may."""

import pytest

from digest.edition.approvers import ApproverRule

DANA, PRIYA, SAM = "staff 1", "staff 2", "staff 3"
TERMINAL = "terminal:eve"
ALL = (DANA, PRIYA, SAM)


@pytest.mark.parametrize(
    ("rule", "actor", "refusal"),
    [
        (ApproverRule(1, (), None, ALL), DANA, ""),
        (ApproverRule(1, (), SAM, ALL), DANA, ""),
        (ApproverRule(1, (), DANA, ALL), DANA, "last to edit"),
        (ApproverRule(1, (), DANA, (DANA,)), DANA, ""),
        (ApproverRule(1, (), TERMINAL, ()), TERMINAL, ""),
        (ApproverRule(1, (), TERMINAL, ALL), TERMINAL, "last to edit"),
        (ApproverRule(1, (), DANA, (DANA,)), TERMINAL, ""),
        (ApproverRule(2, (PRIYA,), DANA, ALL), SAM, ""),
        (ApproverRule(2, (PRIYA,), DANA, ALL), PRIYA, "already"),
        (ApproverRule(2, (PRIYA,), DANA, ALL), DANA, "last to edit"),
        (ApproverRule(2, (), DANA, (DANA,)), DANA, "last to edit"),
        (ApproverRule(2, (), None, ALL), TERMINAL, "--as EMAIL"),
    ],
)
def test_who_may_approve(rule: ApproverRule, actor: str, refusal: str) -> None:
    said = rule.explain_refusal(actor)
    assert refusal in said
    assert bool(refusal) == bool(said)


def test_who_may_still_approve_is_listed() -> None:
    assert ApproverRule(2, (PRIYA,), DANA, ALL).list_eligible() == [SAM]
    assert ApproverRule(1, (), DANA, (DANA,)).list_eligible() == [DANA]
    assert ApproverRule(2, (), DANA, (DANA, SAM)).list_eligible() == [SAM]
