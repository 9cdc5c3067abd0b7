"""A search that waits. Its child process imports this module, so it imports little."""

import time

from digest.app.subscribers.address_searches import search_addresses_in_child
from digest.app.subscribers.child_work import Report
from digest.settings import Settings


def wait_for_go_on(settings: Settings, part: str, report: Report) -> bool:
    """Look at one reader, as a search does it in its child; go on when the test says so."""
    report(1, ())
    while not (settings.home / "go-on").exists():
        time.sleep(0.01)
        report(0, ())  # where it hears that it is to stop
    return search_addresses_in_child(settings, part, lambda *_: None)
