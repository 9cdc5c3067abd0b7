"""A whole send over SendGrid's official package to a provider on loopback: `python -m benchmarks.batches`."""

from benchmarks import peers
from benchmarks.bars import Sheet
from benchmarks.provider import taking
from benchmarks.sizes import FULL, Size
from benchmarks.whole_send import BATCH, Sent, send_apart

BAR = 12_000  # readers a second
NO_SLOWER = (
    0.9  # of the rate at a tenth of the readers: two runs of one size differ by as much on a shared machine
)


def measure(readers: int) -> Sent:
    """Send to so many readers; the provider must have taken each of them once."""
    with taking() as (host, taken):
        sent = send_apart(readers, host)
    assert taken == [readers], f"{taken} of {readers}"
    return sent


def main(sheet: Sheet, size: Size) -> None:
    """Measure both sizes, and put the rates beside their bars."""
    few, many = (measure(readers) for readers in size.readers)
    with taking() as (host, _):
        peer = peers.batches(host, size.peers, BATCH)
    slow, fast = many.readers / many.seconds, few.readers / few.seconds
    said = f"the package's own helpers {peer:,.0f}/s, with no books and no consent"
    what = f"SendGrid, batches of {BATCH:,}, {many.readers:,} readers, SQLite"
    sheet.line(what, f"{slow:,.0f} readers/s", f">= {BAR:,}", held=slow >= BAR, peer=said)
    sheet.note(f"{many.cpu / many.readers * 1e6:.0f} µs of our CPU a reader")
    sheet.line(
        f"SendGrid: {many.readers:,} readers against {few.readers:,}",
        f"{slow / fast:.2f} of {fast:,.0f}/s",
        f"no slower (>= {NO_SLOWER})",
        held=slow >= fast * NO_SLOWER,
    )
    sheet.note(f"memory {many.peak:.0f} / {few.peak:.0f} MB")


if __name__ == "__main__":
    main(Sheet(), FULL)
