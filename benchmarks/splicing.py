"""How long one reader's message takes: bar of 5 µs for the splice, whatever the size of the list."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from zoneinfo import ZoneInfo

from benchmarks import peers
from benchmarks.results import ResultSheet
from benchmarks.sizes import FULL, BenchmarkSize
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues, splice_message
from digest.deliver.compose.variants import fill_placeholders
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText
from subscribers.address import read_address
from subscribers.consent.audience import AudienceMember
from subscribers.consent.preferences import Preferences
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import encrypt_address, make_lookup_hash
from subscribers.subscriber_language import ENGLISH

MAX_MICROSECONDS = 5.0  # µs a reader
ROUNDS = 7
EDITION_DATE = datetime(2026, 11, 20, 11, tzinfo=UTC)


def _sample_template() -> MessageTemplate:
    """A template of the size of a whole edition: 70 KB of HTML, 12 KB of text, with its slots."""
    foot: tuple[str | Slot, ...] = ("You asked for it on ", SIGNUP_SLOT, ". https://news.example.org/u/", LEAVE_SLOT)
    foot = (*foot, " https://news.example.org/preferences/", PREFERENCES_SLOT, "\n")
    row = '<td style="padding:0 0 12px;font:16px/1.5 Georgia,serif">A story, told in a few words — é.</td>\n'
    return MessageTemplate(
        subject="Ports reopen — and six more stories",
        sender_name="HLS.Today",
        sender_address="digest@news.example.org",
        reply_to="editors@news.example.org",
        text=SlottedText.from_parts(["A story, told in a few words — é.\n" * 320, *foot]),
        html=SlottedText.from_parts([*foot, row * 700, *foot]),
        list_id=("HLS.Today", "weekly.news.example.org"),
        unsubscribe_url_prefix="https://news.example.org/u/",
    )


def _microseconds_per_call(act: Callable[[int], object], times: int) -> float:
    start = time.perf_counter()
    for n in range(times):
        act(n)
    return (time.perf_counter() - start) / times * 1e6


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure the steps in interleaved rounds, and put the splice beside its bar."""
    keys, template, zone = KeyRing.from_seed(b"bench"), _sample_template(), ZoneInfo("America/New_York")
    subscribers = [
        AudienceMember(
            n,
            encrypt_address(keys, address, n),
            Preferences(),
            EDITION_DATE,
            "hls.today",
            None,
            (make_lookup_hash(keys, address), keys.current("lookup").id),
        )
        for n in range(1, size.spliced_messages + 1)
        for address in (read_address(f"reader{n}@example.org"),)
    ]
    filled = [
        fill_placeholders(
            r,
            f"<2026-W47.{r.number:020}@weekly.news.example.org>",
            EDITION_DATE,
            keys=keys,
            zone=zone,
            language=ENGLISH,
        )
        for r in subscribers
    ]
    octets = len(splice_message(template, filled[0]))

    def spliced(n: int) -> bytes:
        return splice_message(template, filled[n])

    def opened(n: int) -> PlaceholderValues:
        return fill_placeholders(
            subscribers[n], filled[n].message_id, EDITION_DATE, keys=keys, zone=zone, language=ENGLISH
        )

    rounds = [
        (_microseconds_per_call(spliced, size.spliced_messages), _microseconds_per_call(opened, size.spliced_messages))
        for _ in range(ROUNDS)
    ]
    splicing, filling = (median(r[step] for r in rounds) for step in (0, 1))
    usual = peers.render_per_subscriber(max(1, size.spliced_messages // 10))[0]
    sheet.add_result(
        f"splicing a reader's message of {octets / 1024:.0f} KB",
        f"{splicing:.1f} µs",
        f"< {MAX_MICROSECONDS:.0f} µs",
        bar_met=splicing < MAX_MICROSECONDS,
        peer=f"Jinja2 for each reader: {usual:,.0f} µs, before anything is inlined or encoded",
    )
    sheet.print_note(f"opening the address and two tokens: {filling:.1f} µs more")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
