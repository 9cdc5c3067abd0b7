"""How an installation grows: the tables of docs/growing.md and benchmarks/README.md, by arithmetic and a simulated release.

`python -m benchmarks.growth_model` prints them; with `--figures FILE` it reckons with what `benchmarks.growth_figures` measured on
your machine. All here is a pure function of figures that were measured and of assumptions, which are named as such.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

WEEKS_KEPT = {400: 58, 90: 13}  # editions whose deliveries are kept, by `retention.delivery_days`
PROVIDER_BATCH = 1_000  # readers a request
# Assumptions. Where a list's readers are, in a country where three companies have most mailboxes:
DOMAIN_SHARES = {"gmail.com": 0.40, "outlook.com": 0.15, "yahoo.com": 0.15, "others": 0.30}
# What a large mailbox provider takes from one address that it knows, in an hour; none publishes it:
MESSAGES_PER_HOUR_AND_ADDRESS = 50_000
DOLLARS_PER_CORE_MONTH, DOLLARS_PER_GB_MONTH, DOLLARS_PER_1000_MAILS = 15.0, 0.1, 0.3
EDITIONS_A_MONTH = 52 / 12
MAX_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """What was measured: CPU in µs of one core, sizes in bytes on PostgreSQL, rates a second of one process."""

    # benchmarks/README.md and docs/decisions/0042-claims-that-run-ahead.md
    database_cpu: float = 75.0  # the server, a message
    provider_cpu: float = 75.0  # our process, a reader over SendGrid
    import_rate: float = 11_600.0
    # benchmarks.growth_figures on two cores, 20,000 readers, 2026-11-27
    send_cpu: float = 170.0  # our process, a message over SMTP
    signature_cpu: float = 245.0  # one DKIM signature, RSA-2048
    plan_rate: float = 23_000.0  # deliveries planned a second
    backup_rate: float = 40_000.0  # rows a second, written and read again
    subscriber_bytes: float = 1_260.0  # with a consent event
    delivery_bytes: float = 880.0
    event_bytes: float = 660.0
    log_bytes: float = 2_200.0  # write-ahead log a message


@dataclass(frozen=True, slots=True)
class SendingPlant:
    """What sends: processes and their cores, the database server's cores, signed or not, and what others allow.

    `provider_seconds` is how long SendGrid takes to answer, `requests` how many each process has on the way; None is SMTP.
    `caps` are messages an hour to a domain.
    """

    processes: int
    cores: int
    database_cores: int
    signed: bool = True
    provider_seconds: float | None = None
    requests: int = 1
    caps: Mapping[str, float] = field(default_factory=dict)

    @property
    def uses_provider(self) -> bool:
        """Whether messages go through SendGrid, which signs them itself."""
        return self.provider_seconds is not None


@dataclass(frozen=True, slots=True)
class ReleaseForecast:
    """How long a release takes, and for how many of its seconds which limit held it back."""

    seconds: float
    bound_seconds: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """The limit that held it back for longest."""
        return max(self.bound_seconds, key=lambda name: self.bound_seconds[name])


def rate_limits(costs: UnitCosts, plant: SendingPlant) -> dict[str, float]:
    """Return the messages a second that each part could carry if nothing else took time.

    A process is one core of Python; signing runs beside it, so it asks for cores, not for processes.
    """
    cpu = costs.provider_cpu if plant.uses_provider else costs.send_cpu
    signing = costs.signature_cpu if plant.signed and not plant.uses_provider else 0.0
    limits = {
        "processes": plant.processes * 1e6 / cpu,
        "cores": plant.cores * 1e6 / (cpu + signing),
        "database": plant.database_cores * 1e6 / costs.database_cpu,
    }
    if plant.provider_seconds is not None:
        request_seconds = plant.provider_seconds + PROVIDER_BATCH * cpu / 1e6
        limits["answers"] = plant.processes * plant.requests * PROVIDER_BATCH / request_seconds
    return limits


def share_out(budget: float, wanted: Mapping[str, float]) -> dict[str, float]:
    """Share a budget out over what each wants: evenly, and what one does not need goes to the others."""
    shares, left, rest = dict.fromkeys(wanted, 0.0), budget, dict(wanted)
    while rest and left > 0:
        even = left / len(rest)
        sated = {name: want for name, want in rest.items() if want <= even}
        if not sated:
            return shares | dict.fromkeys(rest, even)
        shares |= sated
        left -= sum(sated.values())
        rest = {name: want for name, want in rest.items() if name not in sated}
    return shares


def simulate_release(
    costs: UnitCosts, plant: SendingPlant, subscribers: int, shares: Mapping[str, float], step_seconds: float = 10.0
) -> ReleaseForecast:
    """Simulate a release step by step: what the slowest part carries is shared out over domains that may still get some.

    The plan is made first. Whatever stops a domain's messages, those to the others go on.
    """
    name, rate = min(rate_limits(costs, plant).items(), key=lambda limit: limit[1])
    waiting = {domain: subscribers * share for domain, share in shares.items()}
    planning = subscribers / costs.plan_rate
    seconds, bound = planning, {"planning": planning}
    for _ in range(MAX_STEPS):
        if sum(waiting.values()) < 1:
            return ReleaseForecast(seconds, bound)
        allowed = {
            domain: min(count, plant.caps[domain] / 3600 * step_seconds) if domain in plant.caps else count
            for domain, count in waiting.items()
        }
        going = share_out(rate * step_seconds, allowed)
        sent, possible = sum(going.values()), sum(waiting.values())
        is_last = sent >= possible
        took = max(sent / rate, 1e-9) if is_last and sent < rate * step_seconds else step_seconds
        held_by = "provider limits" if sent < min(rate * step_seconds, possible) * 0.999 else name
        bound[held_by] = bound.get(held_by, 0.0) + took
        seconds += took
        waiting = {domain: count - going[domain] for domain, count in waiting.items()}
    raise ValueError("The release takes too many steps: raise the rates, the caps or `step_seconds`.")


def database_gigabytes(costs: UnitCosts, subscribers: int, weeks: int, events_a_message: float) -> float:
    """Return the size of the database in GB: readers, and deliveries and events of so many editions."""
    kept = weeks * (costs.delivery_bytes + events_a_message * costs.event_bytes)
    return subscribers * (costs.subscriber_bytes + kept) / 1e9


def backup_hours(costs: UnitCosts, subscribers: int, weeks: int, events_a_message: float) -> float:
    """Return how long a backup of every row takes, with its proof."""
    rows = subscribers * (2 + weeks * (1 + events_a_message))
    return rows / costs.backup_rate / 3600


def month_dollars(plant: SendingPlant, subscribers: int, gigabytes: float) -> float:
    """Return what machines, disk and a provider cost in a month, by the assumed prices."""
    mails = subscribers * EDITIONS_A_MONTH / 1000 * DOLLARS_PER_1000_MAILS if plant.uses_provider else 0.0
    return (plant.cores + plant.database_cores) * DOLLARS_PER_CORE_MONTH + gigabytes * DOLLARS_PER_GB_MONTH + mails


def domain_caps(addresses: int) -> dict[str, float]:
    """Return what large mailbox providers take an hour from so many sending addresses, as assumed."""
    return {domain: float(addresses * MESSAGES_PER_HOUR_AND_ADDRESS) for domain in DOMAIN_SHARES if domain != "others"}


SIZES = (10_000, 1_000_000, 100_000_000)
PLANTS: tuple[tuple[int, str, SendingPlant], ...] = (
    (10_000, "one process, signed, your own mail server", SendingPlant(1, 2, 1, caps=domain_caps(1))),
    (10_000, "one process, SendGrid", SendingPlant(1, 2, 1, provider_seconds=0.2)),
    (1_000_000, "one process, signed, one sending address", SendingPlant(1, 4, 2, caps=domain_caps(1))),
    (1_000_000, "4 workers, signed, 4 sending addresses", SendingPlant(4, 8, 4, caps=domain_caps(4))),
    (1_000_000, "one process, SendGrid, 4 requests at a time", SendingPlant(1, 2, 2, provider_seconds=0.2, requests=4)),
    (100_000_000, "4 workers, signed, 4 sending addresses", SendingPlant(4, 8, 4, caps=domain_caps(4))),
    (100_000_000, "32 workers, signed, 64 sending addresses", SendingPlant(32, 64, 16, caps=domain_caps(64))),
    (
        100_000_000,
        "8 workers, SendGrid, 8 requests at a time",
        SendingPlant(8, 8, 16, provider_seconds=0.2, requests=8),
    ),
)


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _format_size(gigabytes: float) -> str:
    if gigabytes < 1:
        return f"{gigabytes * 1000:.0f} MB"
    return f"{gigabytes:.0f} GB" if gigabytes < 1000 else f"{gigabytes / 1000:,.1f} TB"


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def limits_table(costs: UnitCosts) -> str:
    """Return what each part carries, in messages a second."""
    rows = [
        ("one process, over SMTP", f"{1e6 / costs.send_cpu:,.0f}", "more workers"),
        ("one process, over SendGrid", f"{1e6 / costs.provider_cpu:,.0f}", "more workers; `&connections=`"),
        (
            "a core that signs with RSA-2048",
            f"{1e6 / costs.signature_cpu:,.0f}",
            "more cores, or let the mail server sign",
        ),
        ("a core of PostgreSQL", f"{1e6 / costs.database_cpu:,.0f}", "more cores there, faster disks"),
        ("planning, one process", f"{costs.plan_rate:,.0f}", "none"),
        (
            "one request at a time to SendGrid, answered after 200 ms",
            f"{rate_limits(costs, SendingPlant(1, 2, 1, provider_seconds=0.2))['answers']:,.0f}",
            "`&connections=`, `&batch=`",
        ),
        (
            "a large mailbox provider, from one address (assumed)",
            f"{MESSAGES_PER_HOUR_AND_ADDRESS / 3600:,.0f}",
            "`limits.domains_per_hour`, more addresses, warm-up",
        ),
    ]
    return _markdown_table(("part", "messages per second", "how to raise it"), rows)


def releases_table(costs: UnitCosts) -> str:
    """Return how long each size takes with which plant, what holds it back, and what it costs."""
    rows = []
    for subscribers, name, plant in PLANTS:
        forecast = simulate_release(costs, plant, subscribers, DOMAIN_SHARES)
        stored = database_gigabytes(costs, subscribers, WEEKS_KEPT[400], 1.0 if plant.uses_provider else 0.0)
        dollars = month_dollars(plant, subscribers, stored)
        rows.append(
            (f"{subscribers:,}", name, _format_duration(forecast.seconds), forecast.bottleneck, f"${dollars:,.0f}")
        )
    return _markdown_table(("subscribers", "sent by", "an edition takes", "limited by", "cost per month"), rows)


def storage_table(costs: UnitCosts) -> str:
    """Return disk, log, backup and import of each size."""
    rows = []
    for subscribers in SIZES:
        kept = [
            _format_size(database_gigabytes(costs, subscribers, weeks, events))
            for weeks in WEEKS_KEPT.values()
            for events in (0.0, 1.0)
        ]
        backup = backup_hours(costs, subscribers, WEEKS_KEPT[400], 0.0)
        rows.append(
            (
                f"{subscribers:,}",
                *kept,
                _format_size(subscribers * costs.log_bytes / 1e9),
                _format_duration(backup * 3600),
                _format_duration(subscribers / costs.import_rate),
            )
        )
    heads = (
        "subscribers",
        "400 days, SMTP",
        "400 days, SendGrid",
        "90 days, SMTP",
        "90 days, SendGrid",
        "PostgreSQL log per edition",
        "backup, 400 days",
        "import",
    )
    return _markdown_table(heads, rows)


def read_costs(measured: Mapping[str, Any]) -> UnitCosts:
    """Return the costs with what `benchmarks.growth_figures` measured on PostgreSQL."""
    known = {field_.name for field_ in fields(UnitCosts)}
    found = {**measured["postgresql"], "signature_cpu": measured["signature_cpu"]}
    return replace(UnitCosts(), **{name: value for name, value in found.items() if name in known})


def print_tables(costs: UnitCosts) -> str:
    """Return all tables, as docs/growing.md and benchmarks/README.md have them."""
    return "\n\n".join((limits_table(costs), releases_table(costs), storage_table(costs)))


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--figures", type=Path, help="what benchmarks.growth_figures printed")
    given = reader.parse_args()
    print(print_tables(read_costs(json.loads(given.figures.read_text())) if given.figures else UnitCosts()))
