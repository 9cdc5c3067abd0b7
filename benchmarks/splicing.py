"""How long one reader's message takes: bar of 30 µs for the splice, whatever the size of the list."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from zoneinfo import ZoneInfo

from benchmarks import peers
from benchmarks.bars import Sheet
from benchmarks.sizes import FULL, Size
from digest.deliver.letters import Filled, Letter, splice
from digest.deliver.personalising import fill
from digest.edition import marks
from subscribers.addresses import read_address
from subscribers.choices import Choices
from subscribers.roll import Reader
from subscribers.vault import Keys, seal

BAR = 30.0  # µs a reader
ROUNDS = 7
AT = datetime(2026, 11, 20, 11, tzinfo=UTC)


def _letter() -> Letter:
    """A letter of the size of a whole edition: 70 KB of HTML, 12 KB of text, each mark where it stands."""
    links = (
        f"https://news.example.org/u/{marks.LEAVE} https://news.example.org/preferences/{marks.PREFERENCES}"
    )
    foot = f"You asked for it on {marks.ASKED}. {links}\n"
    row = '<td style="padding:0 0 12px;font:16px/1.5 Georgia,serif">A story, told in a few words — é.</td>\n'
    return Letter(
        subject="Ports reopen — and six more stories",
        sender_name="HLS.Today",
        sender_address="digest@news.example.org",
        reply_to="editors@news.example.org",
        date=AT,
        text="A story, told in a few words — é.\n" * 320 + foot,
        html=foot + row * 700 + foot,
        list_id=("HLS.Today", "weekly.news.example.org"),
        one_click="https://news.example.org/u/",
    )


def _microseconds(act: Callable[[int], object], times: int) -> float:
    start = time.perf_counter()
    for n in range(times):
        act(n)
    return (time.perf_counter() - start) / times * 1e6


def main(sheet: Sheet, size: Size) -> None:
    """Measure the steps in interleaved rounds, and put the splice beside its bar."""
    keys, letter, zone = Keys.fixed(b"bench"), _letter(), ZoneInfo("America/New_York")
    readers = [
        Reader(n, seal(keys, read_address(f"reader{n}@example.org"), n), Choices(), AT, "hls.today", None)
        for n in range(1, size.splices + 1)
    ]
    filled = [
        fill(r, f"<2026-W47.{r.number:020}@weekly.news.example.org>", keys=keys, zone=zone) for r in readers
    ]
    octets = len(splice(letter, filled[0]))

    def spliced(n: int) -> bytes:
        return splice(letter, filled[n])

    def opened(n: int) -> Filled:
        return fill(readers[n], filled[n].message_id, keys=keys, zone=zone)

    rounds = [
        (_microseconds(spliced, size.splices), _microseconds(opened, size.splices)) for _ in range(ROUNDS)
    ]
    splicing, filling = (median(r[step] for r in rounds) for step in (0, 1))
    usual = peers.rendering(max(1, size.splices // 10))[0]
    sheet.line(
        f"splicing a reader's message of {octets / 1024:.0f} KB",
        f"{splicing:.1f} µs",
        f"< {BAR:.0f} µs",
        held=splicing < BAR,
        peer=f"Jinja2 for each reader: {usual:,.0f} µs, before anything is inlined or encoded",
    )
    sheet.note(f"opening the address and two tokens: {filling:.1f} µs more")


if __name__ == "__main__":
    main(Sheet(), FULL)
