"""Whether it is the message that a provider refuses, or one reader after the other.

A refusal that may be about either counts against its reader once anything of the edition was accepted. Until then the
reader waits and is judged again later, and probes go out: to a few readers of other domains, then to a few of the whole
list. Only if none of those is accepted either is the message at fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from digest.deliver.providers.base import HandoverResult, MessageOutcome
from digest.deliver.send.handover import BatchResult

PROBE_SIZE = 5  # readers of each of the two probes


@dataclass(slots=True)
class MessageSuspicion:
    """What the refusals of one run tell of its message. It probes while `suspect_reply` is set and nothing was accepted."""

    was_accepted: bool  # for any reader, also in an earlier run
    suspect_reply: str = ""
    suspect_domains: set[str | None] = field(default_factory=set)
    probes_refused: int = 0  # readers

    @property
    def is_probing(self) -> bool:
        """Whether the next readers to be tried show what is at fault."""
        return bool(self.suspect_reply) and not self.was_accepted

    @property
    def is_confirmed(self) -> bool:
        """Whether the message is at fault."""
        return self.probes_refused >= 2 * PROBE_SIZE and not self.was_accepted

    @property
    def avoided_domains(self) -> set[str | None]:
        """The domains that the next probe leaves for later."""
        return set() if self.probes_refused >= PROBE_SIZE else self.suspect_domains

    @property
    def stop_reason(self) -> str:
        """Why nothing more is handed over, once no reader is left who could clear the message."""
        return (
            f"the provider rejected every message of this edition so far: {self.suspect_reply}. "
            "These subscribers will be tried again."
        )

    def judge_batch(self, batch: BatchResult) -> BatchResult:
        """Return a batch with the refusals of those who are judged later turned into deferrals."""
        outcomes = batch.outcome.outcomes
        self.was_accepted |= any(outcome.result is HandoverResult.ACCEPTED for outcome in outcomes)
        suspects = {place for place, outcome in enumerate(outcomes) if outcome.may_blame_message}
        if self.was_accepted or not suspects:
            return batch
        if self.is_probing:  # of a larger batch that was on its way already a probe's worth counts
            self.probes_refused += min(len(suspects), PROBE_SIZE)
        self.suspect_reply = outcomes[max(suspects)].reply
        self.suspect_domains |= {batch.handed_over[place].domain_tag for place in suspects}
        return replace(batch, outcome=replace(batch.outcome, outcomes=_defer_outcomes(outcomes)))


def _defer_outcomes(outcomes: Sequence[MessageOutcome]) -> tuple[MessageOutcome, ...]:
    return tuple(replace(o, result=HandoverResult.TRY_LATER) if o.may_blame_message else o for o in outcomes)
