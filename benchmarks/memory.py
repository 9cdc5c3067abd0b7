"""How much memory a send takes, whatever the size of the list: the peak of a process that plans and sends."""

from benchmarks import peers
from benchmarks.bars import Sheet
from benchmarks.people import lent, settings_in
from benchmarks.sizes import FULL, Size
from benchmarks.whole_send import send_apart

MORE = 1.1  # the bar: of the peak at a tenth of the readers
MOST = 250.0  # MB


def main(sheet: Sheet, size: Size) -> None:
    """Measure both sizes, and put the peaks beside their bar."""
    few, many = (send_apart(readers) for readers in size.readers)
    with lent(few.readers) as home:
        peer = peers.holding(settings_in(home).database)
    held = many.peak <= few.peak * MORE and many.peak < MOST
    sheet.line(
        f"memory of a send to {many.readers:,} readers, against {few.readers:,}",
        f"{many.peak:.0f} / {few.peak:.0f} MB",
        f"<= {MORE} times, < {MOST:.0f} MB",
        held=held,
        peer=f"the list of {few.readers:,} held as objects of the ORM: {peer:,.0f} MB",
    )
    sheet.note(f"{many.readers / many.seconds:,.0f} messages of 40 KB a second, made and thrown away")


if __name__ == "__main__":
    main(Sheet(), FULL)
