"""Detecting whether a mail server refuses the message, or a variant of it, rather than individual subscribers.

A refusal after the message was sent may be due to either, so its delivery waits and is retried.
Until a message of the edition is accepted, probes are sent: first to a few subscribers at other
domains, and then to a few from the whole list. If none of those are accepted either, the message is
at fault. Afterward, each variant is evaluated by its latest messages. A variant that the server
starts to refuse is set aside while the others continue. If several are refused, or there's only
one, the edition is paused.

A refusal that blames the recipient domain counts against the domain instead. A domain that refuses
too many of its latest messages is set aside, and its subscribers wait. If several domains do, the
edition is paused.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from digest.deliver.providers.base import HandoverStatus, MessageOutcome
from digest.deliver.send.handover import FinishedTaskBatch, SendTask
from digest.deliver.send.refusals.failure_attribution import find_domains_at_fault

PROBE_SIZE = 5  # subscribers in each of the two probes
WINDOW_SIZE = 50  # latest messages of a variant, of a domain, or of the edition
MIN_REFUSALS = 5  # within a window, before a variant is at fault
MIN_REFUSED_SHARE = 0.1  # within a window
# The number of attempts for a message whose variant isn't at fault.
MAX_TRIES = 4

_Judged = tuple[SendTask, MessageOutcome]


@dataclass(slots=True)
class MessageSuspicion:
    """A run's evidence about whether its message is to blame for refusals.

    Probes are sent if `suspect_reply` is set and nothing was accepted.
    """

    was_accepted: bool  # by any subscriber's server, including in earlier runs
    suspect_reply: str = ""
    suspect_domains: set[str | None] = field(default_factory=set)
    probes_refused: int = 0  # the number of subscribers
    # Set if several domains or variants are at fault, or if the only variant is.
    pause_reason: str = ""
    # The reasons by tag, which includes variants.
    domains_at_fault: dict[str, str] = field(default_factory=dict)
    # The domains that someone decided to send to regardless.
    exempt_domains: frozenset[str] = frozenset()
    _accepted_by_variant: defaultdict[str, deque[bool]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=WINDOW_SIZE))
    )
    # These are only kept for domains that refused a message.
    _accepted_by_domain: dict[str, deque[bool]] = field(default_factory=dict)
    _latest: deque[tuple[str | None, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW_SIZE))

    @property
    def is_probing(self) -> bool:
        """True if the next attempts are probes."""
        return bool(self.suspect_reply) and not self.was_accepted

    @property
    def is_confirmed(self) -> bool:
        """True if the message is known to be at fault."""
        return self.probes_refused >= 2 * PROBE_SIZE and not self.was_accepted

    @property
    def avoided_domains(self) -> set[str | None]:
        """The domains for the next probe to avoid."""
        return set() if self.probes_refused >= PROBE_SIZE else self.suspect_domains

    @property
    def stop_reason(self) -> str:
        """The reason to stop once there are no more subscribers to probe."""
        return (
            f"the mail server refused every message of this edition so far: {self.suspect_reply}. "
            "These subscribers will be tried again."
        )

    def judge_batch(self, batch: FinishedTaskBatch) -> FinishedTaskBatch:
        """Add a batch's outcomes to the evidence, and return the batch with undecided refusals changed to deferrals."""
        outcomes = batch.outcome.outcomes
        self.was_accepted |= any(outcome.result is HandoverStatus.ACCEPTED for outcome in outcomes)
        outcomes_by_message = list(zip(batch.handed_over, outcomes, strict=True)) if outcomes else []
        suspects = [(task, outcome) for task, outcome in outcomes_by_message if outcome.may_blame_message]
        self._fill_windows(outcomes_by_message)
        if not suspects:
            return batch
        self.suspect_reply = suspects[-1][1].reply
        if not self.was_accepted:
            self._note_probe(suspects)
        else:
            self._judge_variants()
            self._judge_domains()
        deferred = tuple(self._defer_suspect(task, outcome) for task, outcome in outcomes_by_message)
        return replace(batch, outcome=replace(batch.outcome, outcomes=deferred))

    def _fill_windows(self, judged: Iterable[_Judged]) -> None:
        for task, outcome in judged:
            is_accepted, tag = outcome.result is HandoverStatus.ACCEPTED, task.delivery.domain_tag
            if not is_accepted and not (outcome.may_blame_message and outcome.cause is not None):
                continue
            if (is_accepted or not outcome.blames_domain) and task.variant not in self.exempt_domains:
                self._accepted_by_variant[task.variant].append(is_accepted)
            if tag in self.exempt_domains or not (is_accepted or outcome.blames_domain):
                continue
            self._latest.append((tag, is_accepted))
            if tag and not is_accepted:
                self._accepted_by_domain.setdefault(tag, deque(maxlen=WINDOW_SIZE))
            if tag in self._accepted_by_domain:
                self._accepted_by_domain[tag].append(is_accepted)

    def _note_probe(self, suspects: list[_Judged]) -> None:
        if self.suspect_domains:  # if a larger batch was already being sent, only as many as in a probe are counted
            self.probes_refused += min(len(suspects), PROBE_SIZE)
        self.suspect_domains |= {task.delivery.domain_tag for task, _ in suspects}

    def _judge_variants(self) -> None:
        """Record the variants with too many refusals, and set `pause_reason` unless other variants can continue."""
        reasons = {
            variant: why
            for variant, window in self._accepted_by_variant.items()
            if variant not in self.exempt_domains and (why := self._explain_refusals(window.count(False), len(window)))
        }
        if not reasons:
            return
        at_fault = reasons | self.domains_at_fault
        can_go_on = any(True in window for tag, window in self._accepted_by_variant.items() if tag not in at_fault)
        if can_go_on:
            self.domains_at_fault = at_fault
        if not can_go_on or len(at_fault) > 1:
            why = next(iter(reasons.values()))
            self.pause_reason = (
                f"{why} The reply blames the message, not the subscribers, so the subscribers are waiting. Check what the "
                "reply says about size, content, or links, then resume sending."
            )

    def _judge_domains(self) -> None:
        """Record the domains at fault, and set `pause_reason` if there are several, or if it's none in particular."""
        for tag, window in self._accepted_by_domain.items():
            if why := self._explain_refusals(window.count(False), len(window)):
                self.domains_at_fault.setdefault(tag, why)
        attribution = find_domains_at_fault(
            Counter(tag for tag, is_accepted in self._latest if not is_accepted),
            Counter(tag for tag, _ in self._latest),
            len(self._latest),
            self._explain_refusals,
            self.domains_at_fault,
        )
        self.domains_at_fault = attribution.domains
        if attribution.pause_reason:
            self.pause_reason = (
                f"{attribution.pause_reason} These subscribers are waiting. Check the replies, then resume sending."
            )

    def _explain_refusals(self, refused: int, messages: int) -> str:
        if refused < MIN_REFUSALS or refused < MIN_REFUSED_SHARE * messages:
            return ""
        return f"the mail server refused {refused} of the latest {messages} messages: {self.suspect_reply}."

    def _defer_suspect(self, task: SendTask, outcome: MessageOutcome) -> MessageOutcome:
        """Change a refusal to a deferral, unless it's final.

        It's final if the message's variant was accepted elsewhere and the delivery was tried often
        enough. If a provider doesn't say what a refusal means for the address (`cause`), it has
        singled out the subscriber among others that it accepted, so the refusal counts immediately.
        """
        tried_enough = outcome.cause is None or task.delivery.tries + 1 >= MAX_TRIES
        held = {task.variant, task.delivery.domain_tag}
        is_waiting = bool(self.pause_reason) or not held.isdisjoint(self.domains_at_fault)
        is_final = self.was_accepted and not is_waiting and tried_enough
        if not outcome.may_blame_message or is_final:
            return outcome
        return replace(outcome, result=HandoverStatus.TRY_LATER)
