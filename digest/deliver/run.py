"""One run of one edition over one transport, and what it knows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from digest.db import Database
from digest.deliver.claims import Lane
from digest.deliver.events import Said
from digest.deliver.handing import Result, Transport
from digest.deliver.moves import Move
from digest.deliver.pace import Pace
from digest.deliver.patience import Patient
from digest.deliver.pulse import Heart
from digest.deliver.variants import Variants
from digest.settings import Settings
from subscribers.journal import Journal
from subscribers.vault import Keys


@dataclass(slots=True)
class Run:
    """It lives as long as `send`, and is kept by one thread.

    `moves`, `said`, `gone` and `unsent` are what the next commit writes down: what came of deliveries, what servers
    said of addresses, whose readers left at the last moment, and which were claimed and never left.
    """

    database: Database
    edition: str
    transport: Transport
    keys: Keys
    variants: Variants
    settings: Settings
    journal: Journal
    now: Callable[[], datetime]
    patient: Patient
    progress: Callable[[int, int], None]
    limit: int | None
    lane: Lane
    pace: Pace
    heart: Heart
    counts_since: datetime  # what was said before that does not count against the edition
    total: int = 0
    before: int = 0  # messages that earlier runs handed over
    results: Counter[Result] = field(default_factory=Counter)
    moves: list[tuple[str, Move]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  # handed over by a courier whom a fault struck: nobody knows
    stopped: str = ""  # why nothing more is handed over
    waits: str = ""  # the same where nothing is wrong: it goes on at `not_before`
    not_before: datetime | None = None
    rest: float = 0.0  # seconds for which nothing shall be handed over
    in_doubt: bool = False  # no connection got an answer, and none came since
    looked_at: datetime | None = None  # when `alarms` were last asked
    troubles: int = 0  # refusals since then

    @property
    def unwritten(self) -> bool:
        """Whether the next commit has something to write down."""
        return bool(self.moves or self.gone or self.unsent)

    @property
    def over(self) -> bool:
        """Whether this run hands nothing over any more."""
        return bool(self.stopped or self.waits)

    @property
    def tried(self) -> int:
        """How many messages were dealt with in this run."""
        return self.results.total() - self.results[Result.UNTOUCHED]
