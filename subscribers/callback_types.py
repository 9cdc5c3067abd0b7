"""Names for the kinds of functions that callers hand down."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]  # the time now, in UTC
StopCheck = Callable[[], bool]  # whether the work in hand should end as soon as it safely can
Progress = Callable[[int, int], None]  # is called with (done, total)
