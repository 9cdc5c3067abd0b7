"""The time zones that a form offers, by region, as people look for them."""

from functools import lru_cache
from zoneinfo import available_timezones

from subscribers.phrases import zone_label

REGIONS = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian"),
    "Pacific",
)


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """Return every zone that this machine knows."""
    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def zones_by_region() -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the zones of each region, as name and words; UTC stands by itself."""
    by_region = {
        region: tuple((name, zone_label(name)) for name in sorted(known_zones()) if name.startswith(f"{region}/"))
        for region in REGIONS
    }
    return by_region | {"Everywhere": (("UTC", "UTC"),)}
