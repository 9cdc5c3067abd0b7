"""Daily caps for a sender that receiving servers do not know yet: they refuse many messages from an unknown one at once."""

FIRST_DAY = 500  # messages; below twice as many nothing is capped
_STEPS = (1, 2, 4, 10, 20, 40, 100, 200, 400, 1000, 2000)  # of the first day's messages, a day each


def propose_warm_up(readers: int) -> list[int]:
    """Return most messages for each of the first days, until a day takes all readers; none where a few need no warm-up."""
    if readers <= 2 * FIRST_DAY:
        return []
    caps = [FIRST_DAY * step for step in _STEPS]
    return caps[: next((day for day, cap in enumerate(caps) if cap >= readers), len(caps))]
