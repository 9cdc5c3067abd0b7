"""The circumstances of a random send, drawn from a seed: a list, settings, a relay's faults, and a sequence of mishaps."""

import random
from dataclasses import dataclass, replace

from subscribers.consent.preferences import Preferences
from tests.deliver.faulty_relay import ACCEPT_AND_HANG_UP, FOREVER, HANG_UP, ReplyFault

DOMAINS = ("a.example", "b.example", "c.example", "d.example")
# By stage, what servers reply instead of taking a message.
REPLIES = {
    "GREETING": ("421 4.3.2 too busy", "554 5.7.1 no access", HANG_UP),
    "EHLO": ("421 4.3.2 shutting down", HANG_UP),
    "MAIL": (
        "452 4.3.1 no space",
        "451 4.7.0 slow down",
        "421 4.3.2 shutting down",
        "550 5.1.8 sender rejected",
        "530 5.7.0 sign in",
        HANG_UP,
    ),
    "RCPT": (
        *("450 4.2.0 greylisted", "451 4.7.1 greylisted", "421 4.7.0 too many", "452 4.2.2 mailbox full", HANG_UP),
        *(
            "550 5.1.1 no such user",
            "550 no such user",
            "553 5.1.3 bad address",
            "550 5.2.1 disabled",
            "552 5.2.2 full",
        ),
        *(
            "550 5.7.1 blocked",
            "554 denied",
            "550 5.1.8 sender rejected",
            "556 5.1.10 null MX",
            "550 5.4.4 no route",
            "550 5.7.26 unsigned",
        ),
    ),
    "DATA": ("451 4.3.0 try later", "421 4.3.2 shutting down", "554 5.5.1 no", "550 5.7.1 blocked", HANG_UP),
    "DOT": (
        *("451 4.7.0 try later", "421 4.3.0 shutting down", "452 4.2.2 mailbox full", HANG_UP, ACCEPT_AND_HANG_UP),
        *(
            "554 Transaction failed: spam",
            "554 5.7.1 spam",
            "552 5.3.4 too big",
            "554 5.6.0 cannot be parsed",
            "550 rejected as spam",
        ),
        *("550 5.1.1 no such user", "552 5.2.2 full"),
    ),
}
# Where a mishap can strike: at the relay, in the process that sends, or at its database.
RELAY_POINTS = ("GREETING", "MAIL", "RCPT", "DATA", "DOT", "REPLIED")
POINTS = (*RELAY_POINTS, "MARK", "COMMIT", "COMMITTED")
AFTERMATHS = ("", "", "jump", "resume", "decide", "resolve", "leave", "approve")
FULL, TEXT, NO_EVENTS = "full", "text", "no events"
CHOICES = {FULL: None, TEXT: Preferences(text_only=True), NO_EVENTS: Preferences(omit=frozenset({"events"}))}


@dataclass(frozen=True)
class Mishap:
    """Something that happens when a process comes to a point for the so-many-th time: `kill`, `interrupt`, `stop`, `jump`, `full disk`, `pause`, or `leave`.

    `amount` is in seconds for a jump, in commits for a full disk, and a place on the list for someone who unsubscribes.
    """

    point: str
    count: int
    what: str
    amount: int = 0


@dataclass(frozen=True)
class ProcessLife:
    """One process that follows the timetable for some steps, or until a mishap ends it, and what happens after it."""

    steps: int
    mishaps: tuple[Mishap, ...]
    then: str = ""  # one of `AFTERMATHS`, backup, or restore
    amount: int = 0


@dataclass(frozen=True)
class SendScenario:
    """All that is drawn for one send."""

    seed: int
    subscribers: tuple[tuple[str, str, int | None], ...]  # address, variant, and the hour that they chose
    connections: int
    offers_pipelining: bool
    messages_per_connection: int | None
    per_hour: int
    per_domain: int
    has_canary: bool
    refusals_to_stop: int  # policy refusals, and addresses that don't exist; 0: as shipped
    at_deadline: str  # a rule of the settings; empty: the edition was approved long before
    lives: tuple[ProcessLife, ...]
    faults: tuple[ReplyFault, ...]
    heals_after: (
        int  # steps of half a day in which an admin does what's asked of one, before the relay takes everything
    )
    step_minutes: int
    has_run_files: bool
    drops_aside: bool
    resends_uncertain: bool
    resends_refused: bool
    seconds_per_message: int
    corrected_section: str  # empty: nothing is corrected
    planned_together: int  # deliveries that one commit plans, so that processes also die between two of them


def draw_scenario(seed: int) -> SendScenario:
    """Draw what one send meets; the same seed gives the same."""
    rng = random.Random(seed)
    domains = DOMAINS[: rng.randint(2, 4)]
    subscribers = tuple(_draw_subscriber(rng, n, domains) for n in range(rng.choice((5, 6, 8, 12, 25))))
    at_deadline = rng.choice(("", "", "", "wait", "skip", "send-last-approved"))
    scenario = SendScenario(
        seed=seed,
        subscribers=subscribers,
        connections=rng.choice((1, 1, 2, 3)),
        offers_pipelining=rng.random() < 0.5,
        messages_per_connection=rng.choice((None, None, 1, 2, 5)),
        per_hour=rng.choice((0, 0, 0, 10)),
        per_domain=rng.choice((0, 0, 0, 3)),
        has_canary=rng.random() < 0.25,
        refusals_to_stop=rng.choice((0, 2, 3)),
        at_deadline=at_deadline,
        lives=_draw_lives(rng),
        faults=tuple(_draw_fault(rng, domains) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))),
        heals_after=rng.choice((0, 2, 8, 8)),
        step_minutes=rng.choice((5, 60, 480)),
        has_run_files=rng.random() < 0.85,
        drops_aside=rng.random() < 0.3,
        resends_uncertain=rng.random() < 0.5,
        resends_refused=rng.random() < 0.5,
        # Each correction is rendered by itself.
        corrected_section=rng.choice(("",) * 7 + ("featured", "events")) if len(subscribers) <= 8 else "",
        seconds_per_message=rng.choice((0, 1, 1, 10)),
        planned_together=rng.choice((1000, 1000, 1, 3)),
    )
    if scenario.planned_together >= len(subscribers):
        return scenario
    return replace(scenario, lives=tuple(_kill_while_planning(rng, life) for life in scenario.lives))


def _kill_while_planning(rng: random.Random, life: ProcessLife) -> ProcessLife:
    """Perhaps let the process of a life die before it plans some deliveries, when those before are planned."""
    count = rng.choice((0, 1, 2, 3, 5, 8))
    return replace(life, mishaps=(*life.mishaps, Mishap("PLAN", count, "kill"))) if count else life


def _draw_subscriber(rng: random.Random, number: int, domains: tuple[str, ...]) -> tuple[str, str, int | None]:
    # The first domain is most people's.
    domain = rng.choice((domains[0], *domains))
    variant = rng.choice((FULL, FULL, TEXT, NO_EVENTS))
    return f"reader{number}@{domain}", variant, rng.choice((None,) * 7 + (12,))


def _draw_fault(rng: random.Random, domains: tuple[str, ...]) -> ReplyFault:
    stage = rng.choice(("GREETING", "EHLO", "MAIL", "RCPT", "RCPT", "RCPT", "DATA", "DOT", "DOT", "DOT"))
    knows_address = stage in {"RCPT", "DATA", "DOT"}
    return ReplyFault(
        stage=stage,
        reply=rng.choice(REPLIES[stage]),
        domain=rng.choice(("", "", *domains)) if knows_address else "",
        variant=rng.choice(("", "", FULL, TEXT, NO_EVENTS)) if stage == "DOT" else "",
        share=rng.choice((1.0, 1.0, 1.0, 0.5, 0.2)) if knows_address else 1.0,
        skipped=rng.choice((0, 0, 0, 1, 5, 12)),
        times=rng.choice((1, 2, 5, FOREVER, FOREVER, FOREVER)),
        by_address=knows_address and rng.random() < 0.4,
    )


def _draw_lives(rng: random.Random) -> tuple[ProcessLife, ...]:
    what_follows = [rng.choice(AFTERMATHS) for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.12:  # only what was backed up can be restored
        what_follows.insert(rng.randrange(len(what_follows) + 1), "restore")
        what_follows.insert(rng.randrange(what_follows.index("restore") + 1), "backup")
    return tuple(_draw_life(rng, then) for then in what_follows)


def _draw_life(rng: random.Random, then: str) -> ProcessLife:
    mishaps = tuple(_draw_mishap(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    return ProcessLife(rng.randint(1, 3), mishaps, then, _draw_jump(rng) if then == "jump" else rng.randrange(30))


def _draw_mishap(rng: random.Random) -> Mishap:
    what = rng.choice(("kill", "kill", "kill", "interrupt", "stop", "jump", "full disk", "pause", "leave"))
    # What another process does with the database can't come in the middle of this one's transaction.
    points = RELAY_POINTS if what in {"pause", "leave"} else ("COMMIT",) if what == "full disk" else POINTS
    amount = {"jump": _draw_jump(rng), "full disk": rng.choice((1, 3, 40, 400))}.get(what, rng.randrange(30))
    return Mishap(rng.choice(points), rng.choice((1, 1, 2, 2, 3, 4, 6, 9)), what, amount)


def _draw_jump(rng: random.Random) -> int:
    return rng.choice((-3600, -600, -61, -1, 1, 30, 600, 3600, 6 * 3600, 26 * 3600))


def choose_preferences(variant: str, hour: int | None) -> Preferences | None:
    """Return the preferences of a subscriber who gets a variant, perhaps at an hour of their own."""
    chosen = CHOICES[variant]
    return chosen if hour is None else replace(chosen or Preferences(), hour=hour, zone="America/New_York")


def read_variant(data: bytes) -> str:
    """Return which variant a message is."""
    if b"multipart/alternative" not in data:
        return TEXT
    return FULL if b"events:" in data else NO_EVENTS
