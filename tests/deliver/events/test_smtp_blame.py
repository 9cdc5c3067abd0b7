"""The blame table: the meaning of each mail server reply by stage, and its copy in the docs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.events.smtp_blame import BLAME_TABLE, BlamedParty, ReplyConsequence, SmtpStage, judge_reply
from tests.conftest import ROOT

ADDRESS_CAUSES = {FailureCause.NO_MAILBOX, FailureCause.HARD, FailureCause.SOFT}
CODES = st.builds("{}{:02}".format, st.sampled_from("45"), st.integers(0, 99))
ENHANCED = st.builds("{}.{}".format, st.integers(0, 9), st.integers(0, 30))


@pytest.mark.parametrize(
    ("stage", "reply", "culprit", "handling"),
    [
        (SmtpStage.GREETING, "554 no service", BlamedParty.RELAY, ReplyConsequence.DROP_CONNECTION),
        (SmtpStage.AUTH, "454 4.7.0 try later", BlamedParty.RELAY, ReplyConsequence.DROP_CONNECTION),
        (SmtpStage.AUTH, "535 5.7.8 wrong", BlamedParty.RELAY, ReplyConsequence.STOP),
        (SmtpStage.BETWEEN, "421 4.4.2 bye", BlamedParty.RELAY, ReplyConsequence.RECONNECT),
        (SmtpStage.MAIL, "421 4.3.2 shutting down", BlamedParty.RELAY, ReplyConsequence.PAUSE),
        (SmtpStage.MAIL, "452 4.3.1 full", BlamedParty.RELAY, ReplyConsequence.PAUSE),
        (SmtpStage.MAIL, "550 5.1.8 sender", BlamedParty.RELAY, ReplyConsequence.STOP),
        (SmtpStage.RCPT, "530 5.7.0 sign in", BlamedParty.RELAY, ReplyConsequence.STOP),
        (SmtpStage.RCPT, "421 try later", BlamedParty.DOMAIN, ReplyConsequence.SLOW_DOWN),
        (SmtpStage.RCPT, "451 4.7.0 too many messages", BlamedParty.DOMAIN, ReplyConsequence.SLOW_DOWN),
        (SmtpStage.RCPT, "450 4.7.28 rate limited", BlamedParty.DOMAIN, ReplyConsequence.SLOW_DOWN),
        (SmtpStage.RCPT, "451 4.4.2 timeout", BlamedParty.DOMAIN, ReplyConsequence.SLOW_DOWN),
        (SmtpStage.RCPT, "450 4.3.2 not now", BlamedParty.DOMAIN, ReplyConsequence.SLOW_DOWN),
        (SmtpStage.RCPT, "450 4.7.1 greylisted", BlamedParty.DOMAIN, ReplyConsequence.RETRY),
        (SmtpStage.RCPT, "452 4.2.2 full", BlamedParty.ADDRESS, ReplyConsequence.RETRY),
        (SmtpStage.RCPT, "550 5.1.1 unknown", BlamedParty.ADDRESS, ReplyConsequence.REFUSE),
        (SmtpStage.RCPT, "550 no such user", BlamedParty.ADDRESS, ReplyConsequence.REFUSE),
        (SmtpStage.RCPT, "556 5.1.10 null MX", BlamedParty.DOMAIN, ReplyConsequence.REFUSE),
        (SmtpStage.RCPT, "550 5.7.1 blocked", BlamedParty.REPUTATION, ReplyConsequence.REFUSE),
        (SmtpStage.RCPT, "554 no", BlamedParty.DOMAIN, ReplyConsequence.SUSPECT),
        (SmtpStage.DATA, "451 4.3.0 try again", BlamedParty.RELAY, ReplyConsequence.RETRY),
        (SmtpStage.DOT, "421 4.7.0 too fast", BlamedParty.RELAY, ReplyConsequence.RETRY),
        (SmtpStage.DOT, "452 4.2.2 full", BlamedParty.ADDRESS, ReplyConsequence.RETRY),
        (SmtpStage.DOT, "552 5.2.2 full", BlamedParty.ADDRESS, ReplyConsequence.REFUSE),
        (SmtpStage.DOT, "550 Message rejected as spam", BlamedParty.MESSAGE, ReplyConsequence.SUSPECT),
        (SmtpStage.DOT, "552 5.3.4 too big", BlamedParty.MESSAGE, ReplyConsequence.SUSPECT),
        (SmtpStage.DOT, "554 5.6.0 malformed", BlamedParty.MESSAGE, ReplyConsequence.SUSPECT),
        (SmtpStage.DOT, "550 5.7.26 not authenticated", BlamedParty.REPUTATION, ReplyConsequence.REFUSE),
        (SmtpStage.RCPT, "a text about 421 4.7.0", BlamedParty.RELAY, ReplyConsequence.RETRY),
        (SmtpStage.DOT, "", BlamedParty.RELAY, ReplyConsequence.RETRY),
    ],
)
def test_a_reply_blames_whom_it_is_about(
    stage: SmtpStage, reply: str, culprit: BlamedParty, handling: ReplyConsequence
) -> None:
    verdict = judge_reply(stage, reply)
    assert (verdict.culprit, verdict.handling) == (culprit, handling)


@given(CODES, st.one_of(st.none(), ENHANCED))
def test_after_the_dot_only_codes_about_the_address_blame_it(code: str, enhanced: str | None) -> None:
    verdict = judge_reply(SmtpStage.DOT, f"{code} {code[0]}.{enhanced} no" if enhanced else f"{code} no")
    if code.startswith("5") and not (enhanced or "").startswith(("1.", "2.", "4.4")):
        assert verdict.cause not in ADDRESS_CAUSES
        assert verdict.culprit is not BlamedParty.ADDRESS


@given(st.sampled_from(SmtpStage), CODES, st.one_of(st.none(), ENHANCED))
def test_only_replies_to_the_recipient_slow_a_domain(stage: SmtpStage, code: str, enhanced: str | None) -> None:
    verdict = judge_reply(stage, f"{code} {code[0]}.{enhanced} no" if enhanced else f"{code} no")
    assert stage is SmtpStage.RCPT or verdict.handling is not ReplyConsequence.SLOW_DOWN
    refused = verdict.handling in {ReplyConsequence.REFUSE, ReplyConsequence.SUSPECT}
    assert not refused or code.startswith("5"), "a 4xx never ends a delivery"


def test_the_docs_have_the_whole_table() -> None:
    rows = [f"| {', '.join(row.stages)} | {row.codes} | {row.culprit} | {row.handling} |" for row in BLAME_TABLE]
    text = (ROOT / "docs" / "replies.md").read_text("utf-8")
    assert [row for row in rows if row not in text] == []
