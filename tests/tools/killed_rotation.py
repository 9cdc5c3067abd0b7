"""Rotate the keys of copies of an installation, each of which is killed (SIGKILL) one step later.

    python killed_rotation.py HOME KIND

HOME/digest.db and HOME/keys.json are copied to HOME/died-000, HOME/died-001 and so on; the last one came to its end.
A step is anything that reaches the disk: a file opened for writing, renamed or removed, a folder synced, a
statement or a commit of the database. Prints how many copies there are.
"""

import gc
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import event

from digest.store.engine import open_database
from subscribers.crypto.keys import KeyKind
from subscribers.store import key_rotation
from tests.shared_statements import share_compiled_statements

WATCHED_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.link"})


class StepFuse:
    """Burns down by one at each step, and kills the process at the end."""

    def __init__(self, steps: int, home: Path) -> None:
        self.steps, self.home = steps, str(home)

    def count_step(self, *_: Any, **__: Any) -> None:
        self.steps -= 1
        if self.steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit_hook(self, event_name: str, arguments: tuple[Any, ...]) -> None:
        if event_name in WATCHED_EVENTS and str(arguments[0]).startswith(self.home):
            self.count_step()


def rotate_with_fuse(home: Path, kind: KeyKind, steps: int) -> None:
    """Rotate with a fuse of so many steps."""
    database = share_compiled_statements(open_database(f"sqlite:///{home / 'digest.db'}"))
    fuse = StepFuse(steps, home)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(database.engine, name, fuse.count_step)
    sys.addaudithook(fuse.audit_hook)
    key_rotation.rotate_key(database, home / "keys.json", kind)
    database.close()


def rotate_once(home: Path, kind: KeyKind) -> None:
    """Rotate a copy that survives, so that its statements are compiled when the others are forked."""
    database = share_compiled_statements(open_database(f"sqlite:///{home / 'digest.db'}"))
    key_rotation.rotate_key(database, home / "keys.json", kind)
    database.close()


def copy_installation(home: Path, name: str) -> Path:
    """Copy database and keys into a folder of the home; return it."""
    copy = home / name
    copy.mkdir()
    for file in ("digest.db", "keys.json"):
        shutil.copy2(home / file, copy / file)
    return copy


def rotate_killed_copies(home: Path, kind: KeyKind) -> int:
    """Kill one copy after another until one survives; give how many there are."""
    key_rotation.BATCH_SIZE = 3  # so that a few people are several transactions
    rotate_once(copy_installation(home, "first"), kind)
    gc.freeze()  # no child looks for garbage in what is here now
    for steps in range(500):
        copy = copy_installation(home, f"died-{steps:03}")
        child = os.fork()
        if child == 0:
            try:
                rotate_with_fuse(copy, kind, steps)
            except BaseException:  # noqa: BLE001 - whatever it is, the parent is to see a failure and not a second parent
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the rotation raised"
            return steps + 1
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("no rotation came to its end")


if __name__ == "__main__":
    kind = sys.argv[2]
    assert kind in get_args(KeyKind)
    print(rotate_killed_copies(Path(sys.argv[1]), kind))  # type: ignore[arg-type]  # checked the line before
