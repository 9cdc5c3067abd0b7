"""A transport that answers by a script, for tests of what sending makes of the answers."""

from collections.abc import Callable, Sequence

from digest.deliver.handing import Handed, Outcome, Outgoing, Result


class Scripted:
    """A transport that answers by a script and remembers what it was given; it keeps the one promise."""

    patience = 60.0

    def __init__(
        self, answer: Callable[[Sequence[Outgoing]], Handed], batch: int = 10, name: str = "scripted"
    ) -> None:
        self.answer, self.batch, self.name = answer, batch, name
        self.given: list[Outgoing] = []

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        self.given += messages
        return self.answer(messages)

    def close(self) -> None: ...


def every(
    result: Result, *, reply: str = "said", stop: str = "", wait: float = 0.0
) -> Callable[[Sequence[Outgoing]], Handed]:
    return lambda messages: Handed(tuple(Outcome(result, reply) for _ in messages), stop=stop, wait=wait)
