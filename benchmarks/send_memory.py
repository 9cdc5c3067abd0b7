"""How much memory a send takes, whatever the size of the list: the peak of a process that plans and sends."""

from benchmarks import peers
from benchmarks.isolated_send import send_in_subprocess
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import benchmark_settings, copied_installation
from benchmarks.sizes import FULL, BenchmarkSize, measure_sizes

MAX_MEMORY_GROWTH = 1.1  # the bar: of the peak at a tenth of the readers
MAX_MEMORY_MB = 150.0  # MB


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure both sizes, and put the peaks beside their bar."""
    few, many = measure_sizes(size.subscribers, send_in_subprocess)
    with copied_installation(few.subscribers) as home:
        peer = peers.hold_list_in_memory(benchmark_settings(home).effective_database_url)
    bar_met = many.peak <= few.peak * MAX_MEMORY_GROWTH and many.peak < MAX_MEMORY_MB
    sheet.add_result(
        f"memory of a send to {many.subscribers:,} readers, against {few.subscribers:,}",
        f"{many.peak:.0f} / {few.peak:.0f} MB",
        f"<= {MAX_MEMORY_GROWTH} times, < {MAX_MEMORY_MB:.0f} MB",
        bar_met=bar_met,
        peer=f"the list of {few.subscribers:,} held as objects of the ORM: {peer:,.0f} MB",
    )
    sheet.print_note(f"{many.subscribers / many.seconds:,.0f} messages of 40 KB a second, made and thrown away")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
