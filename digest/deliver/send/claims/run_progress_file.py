"""The run's file: how far each message of a run is, for whoever goes on after the process was killed.

Between two commits the database knows what was claimed, and no more. Here every message that is being handed over has a
slot: begun, then dot (from now on it may arrive), then answer. The file lies in the installation's home, is mapped into
memory and never synced: it survives a killed process, not a machine that loses its power. The run holds its lock
(flock), so whoever gets the lock knows that the run is over.

Layout: a header of JSON, padded with zeros, then the slots. See docs/decisions/0028-the-runs-file.md.
"""

import fcntl
import json
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from struct import Struct

from sqlalchemy import text

from digest.deliver.providers.base import HandoverStatus, MessageOutcome, OutgoingMessage
from digest.store.engine import Database
from digest.store.process_identity import identify_current_process
from subscribers.loggers import get_logger

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")  # random(4)
_SUFFIX = ".run"
_HEADER_SIZE = 512  # bytes
_SLOT_SIZE = 256  # bytes
# A slot: the place of its beginning among all of the run, the delivery's id, the answer, and in its last byte the state.
_BEGINNING = Struct("<Q26s")
_ANSWER = Struct("<221p")
_STATE_OFFSET = _SLOT_SIZE - 1
_EMPTY, _BEGUN, _DOT, _ANSWERED = range(4)
_NO_ANSWER = MessageOutcome(HandoverStatus.UNCERTAIN, "the process sending it ended before the server replied")

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class DeadRun:
    """What a run that is over left in its file: the outcomes of what it was handing over, by delivery.

    A delivery that it had claimed and that is not among them had not begun to leave.
    """

    owner: str
    outcomes: Mapping[str, MessageOutcome]


class RunFileSlots:
    """The slots of a run, one for each message that is being handed over: the `HandoverRecorder` of its provider.

    A slot is free again once what came of its message is committed. One thread gives slots and frees them; others mark.
    """

    def __init__(
        self,
        buffer: mmap.mmap | bytearray,
        offsets: range,
        beginnings: "count[int]",
        may_leave: Callable[[], bool],
    ) -> None:
        self.may_leave = may_leave  # whether the run still keeps its lease
        self._buffer = buffer
        self._free_offsets = list(reversed(offsets))
        self._beginnings = beginnings
        self._state_offsets: dict[str, int] = {}  # by delivery: of messages that may be leaving
        self._ended: list[int] = []

    @property
    def free_count(self) -> int:
        """How many messages can begin."""
        return len(self._free_offsets)

    @property
    def is_busy(self) -> bool:
        """Whether messages may be leaving."""
        return bool(self._state_offsets)

    def begin_batch(self, delivery_ids: Sequence[str]) -> None:
        """Give each delivery a slot."""
        assert len(delivery_ids) <= self.free_count, "more messages than slots"
        for delivery_id in delivery_ids:
            offset = self._free_offsets.pop()
            state_offset = offset + _STATE_OFFSET
            self._buffer[state_offset] = _EMPTY
            _BEGINNING.pack_into(self._buffer, offset, next(self._beginnings), delivery_id.encode("ascii"))
            self._buffer[state_offset] = _BEGUN
            self._state_offsets[delivery_id] = state_offset

    def end_batch(self, delivery_ids: Iterable[str]) -> None:
        """Note that the provider is done with deliveries: nothing of them leaves any more."""
        self._ended += [self._state_offsets.pop(delivery_id) - _STATE_OFFSET for delivery_id in delivery_ids]

    def free_ended(self) -> None:
        """Free the slots of what has ended: what came of it is committed."""
        self._free_offsets += reversed(self._ended)
        self._ended = []

    def is_leaving(self, delivery_id: str) -> bool:
        """Return whether a delivery that has a slot may have arrived."""
        return self._buffer[self._state_offsets[delivery_id]] != _BEGUN

    def mark_begun(self, message: OutgoingMessage) -> None:
        """Mark that a message has not left, or not at this try."""
        self._buffer[self._state_offsets[message.delivery_id]] = _BEGUN

    def mark_dot(self, message: OutgoingMessage) -> bool:
        """Mark that a message leaves now; return False if it must not, since the run doesn't keep its lease."""
        self._buffer[self._state_offsets[message.delivery_id]] = _DOT
        if self.may_leave():  # asked after the mark: nothing comes between the question and the dot
            return True
        self.mark_begun(message)
        return False

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        """Mark what came of a message; without an answer it stays as it is.

        A refusal that may be the fault of what all get is judged among others, so after a kill it is tried again.
        """
        if outcome.result is HandoverStatus.NOT_TRIED or outcome.may_blame_message:
            self.mark_begun(message)
        elif outcome.result is not HandoverStatus.UNCERTAIN:
            state_offset = self._state_offsets[message.delivery_id]
            answer = f"{outcome.result} {outcome.reply}".encode()
            _ANSWER.pack_into(self._buffer, state_offset - _STATE_OFFSET + _BEGINNING.size, answer)
            self._buffer[state_offset] = _ANSWERED


class RunFile:
    """The file of one run. `owner` is the run's name in the deliveries that it claims."""

    def __init__(self, owner: str, buffer: mmap.mmap | bytearray, descriptor: int | None = None) -> None:
        self.owner = owner
        self._buffer = buffer
        self._descriptor = descriptor
        self._next_offset = _HEADER_SIZE
        self.may_leave: Callable[[], bool] = lambda: True
        self._beginnings = count(1)
        self._slots: list[RunFileSlots] = []

    @classmethod
    def in_memory(cls, slot_count: int) -> "RunFile":
        """Return slots without a file: what a kill leaves is uncertain."""
        return cls(_new_run_owner(), bytearray(_HEADER_SIZE + slot_count * _SLOT_SIZE))

    def take_slots(self, slot_count: int | None = None) -> RunFileSlots:
        """Take so many slots, or all that are left."""
        end = len(self._buffer) if slot_count is None else self._next_offset + slot_count * _SLOT_SIZE
        assert end <= len(self._buffer), "more slots than the run's file has"
        slots = RunFileSlots(self._buffer, range(self._next_offset, end, _SLOT_SIZE), self._beginnings, self.may_leave)
        self._next_offset = end
        self._slots.append(slots)
        return slots

    def release(self) -> None:
        """Give up the lock, unless a worker may still be handing over: then it is held until the process ends."""
        if self._descriptor is None or any(slots.is_busy for slots in self._slots):
            return
        assert isinstance(self._buffer, mmap.mmap), "a file is mapped"
        self._buffer.close()
        os.close(self._descriptor)
        self._descriptor = None


@contextmanager
def open_run_file(folder: Path, database_number: str, slot_count: int) -> Iterator[RunFile]:
    """Open the file of a run with so many slots, and delete it at the end of the block.

    After an error it is left to whoever gets its lock (`take_dead_runs`). Where no file can be made, on a full disk
    for example, the slots are in memory alone.
    """
    owner = _new_run_owner()
    path = folder / f"{owner.rpartition('/')[2]}{_SUFFIX}"
    try:
        run_file = _create_run_file(path, owner, database_number, slot_count)
    except OSError as exc:
        log.warning("no file for this run; a crash would leave more in doubt", why=exc.strerror)
        path.unlink(missing_ok=True)
        run_file = RunFile.in_memory(slot_count)
    try:
        yield run_file
    except BaseException:
        run_file.release()
        raise
    path.unlink(missing_ok=True)
    run_file.release()


def take_dead_runs(folder: Path, database_number: str) -> Iterator[DeadRun]:
    """Yield what runs that are over left; a file is deleted when the next one is asked for.

    Of a run of another boot or another database, and of a file that is a copy or cannot be read, nothing is yielded:
    what it had claimed is uncertain.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # another process took it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (dead_run := _read_dead_run(path, _run_place(descriptor, database_number))) is not None:
                yield dead_run
            path.unlink(missing_ok=True)
        except BlockingIOError:  # it goes on
            continue
        finally:
            os.close(descriptor)


def list_abandoned_run_files(folder: Path) -> list[Path]:
    """List the files whose run is over, for nobody holds their lock; they are left as they are."""
    return [path for path in sorted(folder.glob(f"*{_SUFFIX}")) if not _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its run just ended
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_database_instance_id(database: Database) -> str:
    """Return by what the system knows a database; a copied or restored one has another number."""
    if database.engine.dialect.name == "sqlite":
        return str(Path(database.engine.url.database or "").stat().st_ino)
    query = "SELECT oid, CAST(CAST('delivery' AS regclass) AS oid) FROM pg_database WHERE datname = current_database()"
    with database.read() as session:
        return " ".join(str(number) for number in session.execute(text(query)).one())


def _new_run_owner() -> str:
    return f"{identify_current_process()}/{secrets.token_hex(4)}"


def _create_run_file(path: Path, owner: str, database_number: str, slot_count: int) -> RunFile:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = _create_locked_file(path)
    try:
        size = _HEADER_SIZE + slot_count * _SLOT_SIZE
        # Without room on the disk a write into the mapping would be a SIGBUS.
        os.posix_fallocate(descriptor, 0, size)
        header = json.dumps(_run_place(descriptor, database_number) | {"owner": owner}).encode("ascii")
        buffer = mmap.mmap(descriptor, size)
        buffer[:_HEADER_SIZE] = header.ljust(_HEADER_SIZE, b"\0")
    except BaseException:
        os.close(descriptor)
        raise
    return RunFile(owner, buffer, descriptor)


def _create_locked_file(path: Path) -> int:
    """Create a file and lock it; `take_dead_runs` may come in between, find it empty and delete it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _run_place(descriptor: int, database_number: str) -> dict[str, str]:
    """Return where the run of an open file belongs; a copied file has another inode."""
    return {
        "boot": _BOOT_ID_FILE.read_text("ascii").strip(),
        "database": database_number,
        "inode": str(os.fstat(descriptor).st_ino),
    }


def _read_dead_run(path: Path, place: Mapping[str, str]) -> DeadRun | None:
    content = path.read_bytes()
    if not content:  # its run has not locked it yet, and makes another
        return None
    try:
        header = json.loads(content[:_HEADER_SIZE].rstrip(b"\0"))
        owner = header.pop("owner")
        if header == place:
            return DeadRun(owner, _read_outcomes(content))
    except (ValueError, KeyError, AttributeError) as exc:
        log.warning("the file of a run cannot be read; what it was handing over is uncertain", why=type(exc).__name__)
    return None


def _read_outcomes(content: bytes) -> dict[str, MessageOutcome]:
    """Read the outcome of each delivery from the slot that it began last. Raises ValueError where one makes no sense."""
    latest: dict[str, tuple[int, MessageOutcome]] = {}
    for offset in range(_HEADER_SIZE, len(content), _SLOT_SIZE):
        state = content[offset + _STATE_OFFSET]
        if state == _EMPTY:
            continue
        beginning, raw_id = _BEGINNING.unpack_from(content, offset)
        delivery_id = raw_id.rstrip(b"\0").decode("ascii")
        if beginning > latest.get(delivery_id, (0,))[0]:
            latest[delivery_id] = beginning, _slot_outcome(state, content, offset + _BEGINNING.size)
    return {delivery_id: outcome for delivery_id, (_, outcome) in latest.items()}


def _slot_outcome(state: int, content: bytes, answer_offset: int) -> MessageOutcome:
    if state == _BEGUN:
        return MessageOutcome(HandoverStatus.NOT_TRIED)
    if state == _DOT:
        return _NO_ANSWER
    if state != _ANSWERED:
        raise ValueError(state)
    (answer,) = _ANSWER.unpack_from(content, answer_offset)
    result, _, reply = answer.decode("utf-8", "ignore").partition(" ")
    return MessageOutcome(HandoverStatus(result), reply)
