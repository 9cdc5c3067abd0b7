"""How much each part measures: all of it, or so little that only the code is tried."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BenchmarkSize:
    """The sizes of one run of `benchmarks.bench`."""

    # Of two numbers the second is ten times the first; one number twice is measured once.
    articles: tuple[int, int]
    spliced_messages: int
    command_starts: int  # of each command
    signup_rounds: int  # answers to a sign-up, of each standing
    messages: int  # of a send over SMTP, and how many such sends
    smtp_rounds: int
    sessions: tuple[int, ...]
    subscribers: tuple[int, int]  # of a send over SendGrid, of one whose memory is measured, of a long one
    shown_batches: tuple[
        tuple[int, int], ...
    ]  # readers a request to SendGrid and requests at a time, which no bar judges
    long_send_databases: tuple[str, ...]  # from which the larger number is sent over SMTP
    import_rows: tuple[int, int]  # of an import
    worker_counts: tuple[int, ...]  # processes that send at once, each twice the one before
    worker_seconds: float  # for which the receiver is watched with each of them
    worker_routes: int  # to SMTP; and to SendGrid
    worker_curve: tuple[int, ...]  # processes that send at once to a slower receiver, which no bar judges
    limited_seconds: tuple[int, int]  # for which a send under a limit is watched, and of each window within
    kill_interval: float  # seconds after which one of its workers is killed
    webhook_posts: int  # of the webhook, 20 events each
    concurrent_load: tuple[int, int]  # readers of the send and rows of the import that run at once
    page_home: tuple[
        int, int, int
    ]  # readers, articles of the week and past editions of the home whose pages are measured
    page_databases: tuple[str, ...]  # of that home, and of an import through the page
    page_rounds: int  # in which each of them is asked for
    peer_items: int  # readers or rows that a peer is given


def measure_sizes(sizes: tuple[int, int], measure: Callable[[int], Result]) -> tuple[Result, Result]:
    """Measure the smaller and the larger size; where both are the same it is measured once."""
    small, large = sizes
    first = measure(small)
    return first, first if large == small else measure(large)


FULL = BenchmarkSize(
    articles=(5_000, 50_000),
    spliced_messages=2_000,
    command_starts=9,
    signup_rounds=400,
    messages=20_000,
    smtp_rounds=3,
    sessions=(8, 50),
    subscribers=(100_000, 1_000_000),
    shown_batches=((250, 1), (1_000, 4)),
    long_send_databases=("sqlite", "postgresql"),
    import_rows=(100_000, 1_000_000),
    worker_counts=(1, 2, 4),
    worker_seconds=8.0,
    worker_routes=2,
    worker_curve=(1, 2, 4, 8, 16),
    limited_seconds=(70, 60),
    kill_interval=10.0,
    webhook_posts=3_000,
    concurrent_load=(100_000, 300_000),
    page_home=(1_000_000, 5_000, 200),
    page_databases=("sqlite", "postgresql"),
    page_rounds=50,
    peer_items=20_000,
)
QUICK = BenchmarkSize(
    articles=(100, 100),
    spliced_messages=20,
    command_starts=1,
    signup_rounds=4,
    messages=20,
    smtp_rounds=2,
    sessions=(4,),
    subscribers=(100, 100),
    shown_batches=((25, 2),),
    long_send_databases=("sqlite",),
    import_rows=(200, 200),
    worker_counts=(1, 2),
    worker_seconds=0.1,
    worker_routes=1,
    worker_curve=(1, 2),
    limited_seconds=(2, 1),
    kill_interval=1.0,
    webhook_posts=10,
    concurrent_load=(50, 100),
    page_home=(200, 60, 6),
    page_databases=("sqlite",),
    page_rounds=1,
    peer_items=20,
)
