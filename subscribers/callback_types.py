"""Type aliases for callbacks."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]  # returns the current time in UTC
StopCheck = Callable[[], bool]  # returns whether the current work should stop as soon as it safely can
Progress = Callable[[int, int], None]  # called with (done, total)
