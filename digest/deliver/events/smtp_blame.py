"""The table of SMTP replies, by code and stage of the conversation: whom each reply blames and what follows from it.

Sources: RFC 5321, sections 3.8, 4.2.1, 4.2.2, and 4.5.4.1; RFC 3207, section 4; RFC 3463, section
3; RFC 4954, section 6; RFC 7505, section 4; and the replies that Postfix, Exim, Exchange, Gmail,
and Yahoo give. Free text is never parsed. docs/replies.md shows the table to operators.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, format_reply_codes, parse_reply_codes


class SmtpStage(StrEnum):
    """The stage of the SMTP conversation at which a reply arrives."""

    GREETING = "greeting"  # connecting, the greeting, and EHLO
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    BETWEEN = "between messages"  # the first reply after another message on the same connection
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "after the dot"


class BlamedParty(StrEnum):
    """The party that a reply blames."""

    ADDRESS = "the address"
    DOMAIN = "the receiving domain"
    RELAY = "your mail server"
    MESSAGE = "the message or its variant"
    REPUTATION = "your reputation"


class ReplyConsequence(StrEnum):
    """What the program does after a reply."""

    REFUSE = "ends this delivery"
    SUSPECT = "tries again, and stops if others are refused too"
    RETRY = "tries again later"
    SLOW_DOWN = "tries again later, and sends less to this domain"
    RECONNECT = "offers the message again over a new connection"
    PAUSE = "pauses for seconds, then tries with one message"
    DROP_CONNECTION = "continues with fewer connections"
    STOP = "stops the run"


@dataclass(frozen=True, slots=True)
class BlameRule:
    """A row of the table, which applies to any of its codes at any of its stages.

    `codes` are separated by commas. Each is a reply code, optionally with an enhanced code. An "x"
    matches any number, and "alone" means without an enhanced code.
    """

    stages: tuple[SmtpStage, ...]
    codes: str
    culprit: BlamedParty
    handling: ReplyConsequence
    cause: FailureCause | None = field(default=None, kw_only=True)  # of a refusal, or None if the codes determine it

    def applies_to(self, stage: SmtpStage, codes: str) -> bool:
        """Return True if the row applies to a reply, given as "550 5.1.1" or "550"."""
        return stage in self.stages and bool(_compile_codes(self.codes).fullmatch(codes))


@dataclass(frozen=True, slots=True)
class ReplyAssessment:
    """The meaning of a reply: whom it blames, what follows, and what a refusal says about the address."""

    culprit: BlamedParty
    handling: ReplyConsequence
    cause: FailureCause


_ENVELOPE = (SmtpStage.MAIL, SmtpStage.RCPT, SmtpStage.DATA)
_CONTENT = (SmtpStage.DATA, SmtpStage.DOT)
_FROM_RCPT = (SmtpStage.RCPT, *_CONTENT)

# The first matching row applies.
BLAME_TABLE = (
    BlameRule((SmtpStage.GREETING,), "any", BlamedParty.RELAY, ReplyConsequence.DROP_CONNECTION),
    BlameRule((SmtpStage.STARTTLS,), "any", BlamedParty.RELAY, ReplyConsequence.STOP),
    BlameRule((SmtpStage.AUTH,), "4xx", BlamedParty.RELAY, ReplyConsequence.DROP_CONNECTION),
    BlameRule((SmtpStage.AUTH,), "any", BlamedParty.RELAY, ReplyConsequence.STOP),
    BlameRule((SmtpStage.BETWEEN,), "421", BlamedParty.RELAY, ReplyConsequence.RECONNECT),
    BlameRule(_ENVELOPE, "530, 535, 538", BlamedParty.RELAY, ReplyConsequence.STOP),
    BlameRule((SmtpStage.MAIL,), "4xx", BlamedParty.RELAY, ReplyConsequence.PAUSE),
    BlameRule((SmtpStage.MAIL,), "5xx", BlamedParty.RELAY, ReplyConsequence.STOP),
    BlameRule((SmtpStage.RCPT, SmtpStage.DOT), "4xx 4.2.x", BlamedParty.ADDRESS, ReplyConsequence.RETRY),
    BlameRule(
        (SmtpStage.RCPT,),
        "421, 4xx 4.3.2, 4xx 4.4.x, 4xx 4.7.0, 4xx 4.7.28",
        BlamedParty.DOMAIN,
        ReplyConsequence.SLOW_DOWN,
    ),
    BlameRule((SmtpStage.RCPT,), "4xx", BlamedParty.DOMAIN, ReplyConsequence.RETRY),
    BlameRule(_FROM_RCPT, "5xx 5.1.7, 5xx 5.1.8", BlamedParty.REPUTATION, ReplyConsequence.SUSPECT),
    BlameRule(_FROM_RCPT, "5xx 5.1.2, 5xx 5.1.10, 5xx 5.4.4", BlamedParty.DOMAIN, ReplyConsequence.REFUSE),
    BlameRule(_FROM_RCPT, "5xx 5.1.x, 5xx 5.2.x", BlamedParty.ADDRESS, ReplyConsequence.REFUSE),
    BlameRule(_FROM_RCPT, "5xx 5.7.x", BlamedParty.REPUTATION, ReplyConsequence.REFUSE),
    BlameRule((SmtpStage.RCPT,), "550 alone, 551 alone, 553 alone", BlamedParty.ADDRESS, ReplyConsequence.REFUSE),
    BlameRule((SmtpStage.RCPT,), "5xx", BlamedParty.DOMAIN, ReplyConsequence.SUSPECT),
    BlameRule(_CONTENT, "4xx", BlamedParty.RELAY, ReplyConsequence.RETRY),
    BlameRule(
        _CONTENT,
        "5xx 5.3.x, 5xx 5.5.x, 5xx 5.6.x",
        BlamedParty.MESSAGE,
        ReplyConsequence.SUSPECT,
        cause=FailureCause.OUR_FAULT,
    ),
    BlameRule(_CONTENT, "5xx", BlamedParty.MESSAGE, ReplyConsequence.SUSPECT, cause=FailureCause.POLICY),
)


def judge_reply(stage: SmtpStage, reply: str) -> ReplyAssessment:
    """Return whom a reply blames, its consequence, and the cause of a refusal.

    `reply` starts with its code. Addresses may have been removed. A reply that no row covers, such
    as one without a code, comes from a server that's about to hang up, so it's retried.
    """
    return _judge_codes(stage, *parse_reply_codes("", reply))


def find_blamed_party(cause: FailureCause, reply: str) -> BlamedParty:
    """Return whom a refusal blames, inferring the SMTP stage from the stored cause and reply.

    Events from providers aren't replies, so their cause decides.
    """
    # An expired deferral is usually due to the recipient's server.
    stages = sorted((SmtpStage.DOT, SmtpStage.RCPT), key=lambda stage: stage is SmtpStage.DOT and reply.startswith("4"))
    verdicts = (judge_reply(stage, reply) for stage in stages)
    return next((verdict.culprit for verdict in verdicts if verdict.cause is cause), _CULPRITS[cause])


_CULPRITS = dict.fromkeys(FailureCause, BlamedParty.ADDRESS) | {
    FailureCause.NONE: BlamedParty.RELAY,
    FailureCause.POLICY: BlamedParty.REPUTATION,
    FailureCause.OUR_FAULT: BlamedParty.MESSAGE,
}


@cache
def _judge_codes(stage: SmtpStage, code: str, enhanced_codes: frozenset[str]) -> ReplyAssessment:
    codes = format_reply_codes(code, enhanced_codes)
    cause = find_failure_cause(code, enhanced_codes) or FailureCause.NONE
    for row in BLAME_TABLE:
        if row.applies_to(stage, codes):
            return ReplyAssessment(row.culprit, row.handling, cause if row.cause is None else row.cause)
    return ReplyAssessment(BlamedParty.RELAY, ReplyConsequence.RETRY, FailureCause.NONE)


@cache
def _compile_codes(listed: str) -> re.Pattern[str]:
    patterns = []
    for codes in listed.split(", "):
        reply_code, _, enhanced_code = codes.replace("any", "xxx").partition(" ")
        detail_pattern = {"": r"(?: .*)?", "alone": ""}.get(enhanced_code)
        if detail_pattern is None:
            detail_pattern = " " + re.escape(enhanced_code).replace("x", r"\d+")
        patterns.append(reply_code.replace("x", r"\d") + detail_pattern)
    return re.compile("|".join(patterns))
