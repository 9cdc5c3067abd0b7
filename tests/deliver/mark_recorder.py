"""The marks that a provider makes for its messages, in order."""

from collections.abc import Callable

from digest.deliver.providers.base import MessageOutcome, OutgoingMessage


class MarkRecorder:
    """Records marks as (delivery, mark), where an outcome is marked by its result; `on_dot` is called at each dot.

    Unless `may_leave`, no message may, as if its run had been silent for too long.
    """

    def __init__(self, on_dot: Callable[[], None] = lambda: None, *, may_leave: bool = True) -> None:
        self.marks: list[tuple[str, str]] = []
        self._may_leave = may_leave
        self._on_dot = on_dot

    def mark_unsent(self, message: OutgoingMessage) -> None:
        self.marks.append((message.delivery_id, "begun"))

    def mark_sending(self, message: OutgoingMessage) -> bool:
        self.marks.append((message.delivery_id, "dot"))
        self._on_dot()
        return self._may_leave

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        self.marks.append((message.delivery_id, str(outcome.result)))
