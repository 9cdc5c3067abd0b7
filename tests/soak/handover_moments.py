"""What a receiver's record of times shows: the rate of messages, and where a message was when its sender died."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.deliver.kill_harness import OFFICE, subscriber_number

WINDOW_SECONDS = 60.0
MAX_CLOCK_LAG = 1.0  # seconds by which a busy receiver notes later what a sender did


class DoubtPlace(StrEnum):
    """Where a message stood when its sender was killed."""

    NO_DOT = "its dot was about to leave, and never came"
    UNANSWERED = "it had its dot, and no answer"
    ANSWERED = "its answer was on the way"
    UNEXPLAINED = "no kill explains it"


@dataclass(frozen=True)
class HandoverMoments:
    """When the receiver had each reader's dot, and when it answered; readers by number, moments in seconds since 1970."""

    dots: dict[int, float] = field(default_factory=dict)
    answers: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: Path) -> "HandoverMoments":
        """Read what a recorder (`tests/deliver/message_recorder.py`) wrote."""
        moments = cls()
        by_word = {"dot": moments.dots, "answer": moments.answers}
        for line in (folder / "moments").read_text("ascii").splitlines():
            word, recipient, moment = line.split()
            if recipient != OFFICE:
                by_word[word][subscriber_number(recipient)] = float(moment)
        return moments

    def place_doubt(self, subscriber: int, kills: Sequence[float]) -> DoubtPlace:
        """Say where a reader's message stood, given when senders were killed."""
        dot, answer = self.dots.get(subscriber), self.answers.get(subscriber)
        if dot is None:
            return DoubtPlace.NO_DOT
        until = (dot if answer is None else answer) + MAX_CLOCK_LAG
        near = [kill for kill in kills if dot - MAX_CLOCK_LAG <= kill <= until]
        if not near:
            return DoubtPlace.UNEXPLAINED
        return DoubtPlace.UNANSWERED if answer is None or answer > near[0] else DoubtPlace.ANSWERED


def window_rates(moments: Sequence[float], start: float, end: float) -> Iterator[float]:
    """Yield the messages a second of each full window between two moments; one begins each second. `moments` are sorted."""
    while start + WINDOW_SECONDS <= end:
        inside = bisect_left(moments, start + WINDOW_SECONDS) - bisect_left(moments, start)
        yield inside / WINDOW_SECONDS
        start += 1.0
