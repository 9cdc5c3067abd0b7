"""A whole send over SendGrid's official package to a provider on loopback: `python -m benchmarks.sendgrid_send`."""

from benchmarks import peers
from benchmarks.isolated_send import BATCH_SIZE, SendResult, measure_send, send_in_subprocess
from benchmarks.receiver_process import run_receiver
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import copied_installation
from benchmarks.sizes import FULL, BenchmarkSize, measure_sizes

MIN_SUBSCRIBERS_PER_SECOND = 15_000  # readers a second
MIN_RATE_RATIO = (
    0.9  # of the rate at a tenth of the readers: two runs of one size differ by as much on a shared machine
)

SLOW_ANSWER_SECONDS = 0.2  # seconds of an answer from far away
CONNECTIONS = 4
MIN_SPEED_UP = 2.5  # times, with four requests at a time in place of one


def measure_sendgrid_send(subscribers: int, batch_size: int = BATCH_SIZE, connections: int = 1) -> SendResult:
    """Send to so many readers; the provider must have taken each of them once."""
    with run_receiver("fake_provider") as provider:
        sent = send_in_subprocess(subscribers, provider.url, batch_size=batch_size, connections=connections)
        taken = provider.count_taken()
    assert taken == subscribers, f"{taken} of {subscribers}"
    return sent


def measure_slow_provider(subscribers: int, connections: int) -> float:
    """Give the readers a second where each request is answered late, with so many of them at a time."""
    with run_receiver("fake_provider", SLOW_ANSWER_SECONDS) as provider, copied_installation(subscribers) as home:
        return subscribers / measure_send(home, provider.url, connections).seconds


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure both sizes, and put the rates beside their bars."""
    few, many = measure_sizes(size.subscribers, measure_sendgrid_send)
    with run_receiver("fake_provider") as provider:
        peer = peers.send_with_sendgrid_helpers(provider.url, size.peer_items, BATCH_SIZE)
    slow, fast = many.subscribers / many.seconds, few.subscribers / few.seconds
    peer_text = f"the package's own helpers {peer:,.0f}/s, with no delivery counts and no consent"
    what = f"SendGrid, batches of {BATCH_SIZE:,}, {many.subscribers:,} readers, SQLite"
    sheet.add_result(
        what,
        f"{slow:,.0f} readers/s",
        f">= {MIN_SUBSCRIBERS_PER_SECOND:,}",
        bar_met=slow >= MIN_SUBSCRIBERS_PER_SECOND,
        peer=peer_text,
    )
    sheet.print_note(f"{many.cpu / many.subscribers * 1e6:.0f} µs of our CPU a reader")
    sheet.add_result(
        f"SendGrid: {many.subscribers:,} readers against {few.subscribers:,}",
        f"{slow / fast:.2f} of {fast:,.0f}/s",
        f"no slower (>= {MIN_RATE_RATIO})",
        bar_met=slow >= fast * MIN_RATE_RATIO,
    )
    sheet.print_note(f"memory {many.peak:.0f} / {few.peak:.0f} MB")
    for batch_size, connections in size.shown_batches:
        shown = measure_sendgrid_send(few.subscribers, batch_size, connections)
        sheet.add_result(
            f"SendGrid, batches of {batch_size:,}, {few.subscribers:,} readers, SQLite; requests at a time: {connections}",
            f"{shown.subscribers / shown.seconds:,.0f} readers/s",
        )
    one, several = (measure_slow_provider(size.subscribers[0], connections) for connections in (1, CONNECTIONS))
    sheet.add_result(
        f"SendGrid that answers after {SLOW_ANSWER_SECONDS * 1000:.0f} ms: {CONNECTIONS} requests at a time against one",
        f"{several / one:.1f} times {one:,.0f}/s",
        f">= {MIN_SPEED_UP} times",
        bar_met=several >= MIN_SPEED_UP * one,
    )


if __name__ == "__main__":
    main(ResultSheet(), FULL)
