"""Whether a mail server refuses the message, or one of its variants, rather than one subscriber after the other.

A refusal after the message was sent may be about either, so its subscriber waits and is tried again. Until anything of
the edition was accepted, probes are sent: to a few subscribers of other domains, then to a few of the whole list. If none
of those is accepted either, the message is at fault. After that, each variant is judged by what became of its latest
messages, so that a server that begins to refuse pauses the edition at any point of it.
"""

from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from digest.deliver.providers.base import HandoverResult, MessageOutcome
from digest.deliver.send.handover import BatchResult, SendTask

PROBE_SIZE = 5  # subscribers of each of the two probes
WINDOW_SIZE = 50  # latest messages of a variant
MIN_REFUSALS = 5  # in a window, before a variant is at fault
MIN_REFUSED_SHARE = 0.1  # of a window
MAX_TRIES = 4  # of a message whose variant isn't at fault


@dataclass(slots=True)
class MessageSuspicion:
    """What the refusals of one run say about its message. It probes while `suspect_reply` is set and nothing was accepted."""

    was_accepted: bool  # for any subscriber, also in an earlier run
    suspect_reply: str = ""
    suspect_domains: set[str | None] = field(default_factory=set)
    probes_refused: int = 0  # subscribers
    pause_reason: str = ""  # set once a variant is at fault
    _accepted_by_variant: defaultdict[Hashable, deque[bool]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=WINDOW_SIZE))
    )

    @property
    def is_probing(self) -> bool:
        """Whether the next subscribers to be tried show what's at fault."""
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
        """The reason to send nothing more, once no subscriber is left who could clear the message."""
        return (
            f"the mail server refused every message of this edition so far: {self.suspect_reply}. "
            "These subscribers will be tried again."
        )

    def judge_batch(self, batch: BatchResult) -> BatchResult:
        """Return a batch with the refusals of those who are judged later turned into deferrals."""
        outcomes = batch.outcome.outcomes
        self.was_accepted |= any(outcome.result is HandoverResult.ACCEPTED for outcome in outcomes)
        judged = list(zip(batch.handed_over, outcomes, strict=True)) if outcomes else []
        suspects = [(task, outcome) for task, outcome in judged if outcome.may_blame_message]
        for task, outcome in judged:
            if outcome.result is HandoverResult.ACCEPTED or (outcome.may_blame_message and outcome.cause is not None):
                self._accepted_by_variant[task.variant].append(outcome.result is HandoverResult.ACCEPTED)
        if not suspects:
            return batch
        self.suspect_reply = suspects[-1][1].reply
        if not self.was_accepted:
            self._note_probe(suspects)
        else:
            self._judge_variants()
        deferred = tuple(self._defer_suspect(task, outcome) for task, outcome in judged)
        return replace(batch, outcome=replace(batch.outcome, outcomes=deferred))

    def _note_probe(self, suspects: list[tuple[SendTask, MessageOutcome]]) -> None:
        if self.suspect_domains:  # of a larger batch that was on its way already a probe's worth counts
            self.probes_refused += min(len(suspects), PROBE_SIZE)
        self.suspect_domains |= {task.delivery.domain_tag for task, _ in suspects}

    def _judge_variants(self) -> None:
        """Set `pause_reason` if the mail server refuses too many of a variant's latest messages."""
        for window in self._accepted_by_variant.values():
            refused = window.count(False)
            if refused >= MIN_REFUSALS and refused >= MIN_REFUSED_SHARE * len(window):
                self.pause_reason = (
                    f"the mail server rejected {refused} of the latest {len(window)} messages: {self.suspect_reply}. "
                    "The reply blames the message, not the subscribers, so they wait. Check what it says about size, "
                    "content, or links, then resume."
                )

    def _defer_suspect(self, task: SendTask, outcome: MessageOutcome) -> MessageOutcome:
        """Turn a refusal into a deferral, unless its variant is taken by others and this one was tried often enough.

        A provider that can't tell what its refusal says about the address (`cause`) has found the subscriber among
        others that it accepted, so the refusal counts at once.
        """
        tried_enough = outcome.cause is None or task.delivery.tries + 1 >= MAX_TRIES
        is_final = self.was_accepted and not self.pause_reason and tried_enough
        if not outcome.may_blame_message or is_final:
            return outcome
        return replace(outcome, result=HandoverResult.TRY_LATER)
