"""How much each part measures: all of it, or so little that only the code is tried."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The sizes of one run of `benchmarks.bench`."""

    articles: tuple[int, int]  # the second ten times the first
    splices: int
    rounds: int  # answers to a sign-up, of each standing
    messages: int  # of a send over SMTP, and how many of them in a turn
    turn: int
    sessions: tuple[int, ...]
    readers: tuple[int, int]  # of a send over SendGrid, and of one whose memory is measured
    rows: tuple[int, int]  # of an import
    posts: int  # of the webhook, 20 events each
    at_once: tuple[int, int]  # readers of the send and rows of the import that run at once
    peers: int  # readers or rows that a peer is given


FULL = Size(
    articles=(5_000, 50_000),
    splices=2_000,
    rounds=400,
    messages=20_000,
    turn=2_000,
    sessions=(8, 50),
    readers=(100_000, 1_000_000),
    rows=(100_000, 1_000_000),
    posts=3_000,
    at_once=(100_000, 300_000),
    peers=20_000,
)
QUICK = Size(
    articles=(100, 200),
    splices=20,
    rounds=4,
    messages=40,
    turn=20,
    sessions=(4,),
    readers=(50, 100),
    rows=(100, 200),
    posts=10,
    at_once=(50, 100),
    peers=20,
)
