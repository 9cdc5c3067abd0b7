"""The progress file of a run, which records how far each message got in case the process is killed.

Between two commits, the database only knows which deliveries were claimed. In the file, each
message being handed over has a slot. Its state is `_BEGUN`, then `_DOT` (from then on, the message
may arrive), and then `_ANSWERED`. The file is in the installation's folder, mapped into memory, and
never synced, so it survives the end of the process, but not a power failure. The run holds a lock
on it (flock), so if another process gets the lock, the run is over.

The file consists of a JSON header, padded with zeros, and the slots. See
docs/decisions/0028-the-runs-file.md.
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
# A slot contains its sequence number within the run, the delivery's ID, the answer, and the state
# in the last byte.
_BEGINNING = Struct("<Q26s")
_ANSWER = Struct("<221p")
_STATE_OFFSET = _SLOT_SIZE - 1
_EMPTY, _BEGUN, _DOT, _ANSWERED = range(4)
_NO_ANSWER = MessageOutcome(HandoverStatus.UNCERTAIN, "the process sending it ended before the server replied")

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class DeadRun:
    """The content of an ended run's file: the outcomes of the messages that it was handing over, by delivery ID.

    If a claimed delivery isn't included, it wasn't passed to a provider.
    """

    owner: str
    outcomes: Mapping[str, MessageOutcome]


class HandoverSlots:
    """A pool of reusable slots in a run's file, one per message being handed over.

    It's the `HandoverRecorder` of a provider. A slot can be reused once its message's outcome is
    committed. One thread assigns and frees slots, and other threads mark them.
    """

    def __init__(
        self,
        buffer: mmap.mmap | bytearray,
        offsets: range,
        beginnings: "count[int]",
        may_send: Callable[[], bool],
    ) -> None:
        self.may_send = may_send  # returns whether the run still has its lease
        self._buffer = buffer
        self._free_offsets = list(reversed(offsets))
        self._beginnings = beginnings
        self._state_offsets: dict[str, int] = {}  # by delivery ID, for messages that the provider may be sending
        self._ended: list[int] = []

    @property
    def free_count(self) -> int:
        """The number of free slots."""
        return len(self._free_offsets)

    @property
    def is_busy(self) -> bool:
        """True if the provider may be sending any of the messages."""
        return bool(self._state_offsets)

    def begin_batch(self, delivery_ids: Sequence[str]) -> None:
        """Assign a slot to each delivery."""
        assert len(delivery_ids) <= self.free_count, "more messages than slots"
        for delivery_id in delivery_ids:
            offset = self._free_offsets.pop()
            state_offset = offset + _STATE_OFFSET
            self._buffer[state_offset] = _EMPTY
            _BEGINNING.pack_into(self._buffer, offset, next(self._beginnings), delivery_id.encode("ascii"))
            self._buffer[state_offset] = _BEGUN
            self._state_offsets[delivery_id] = state_offset

    def end_batch(self, delivery_ids: Iterable[str]) -> None:
        """Record that the provider is finished with deliveries, so none of them will be sent anymore."""
        self._ended += [self._state_offsets.pop(delivery_id) - _STATE_OFFSET for delivery_id in delivery_ids]

    def free_ended(self) -> None:
        """Free the slots of finished deliveries, whose outcomes have been committed."""
        self._free_offsets += reversed(self._ended)
        self._ended = []

    def may_have_arrived(self, delivery_id: str) -> bool:
        """Return True if a delivery with a slot was marked as being sent, and so may have arrived."""
        return self._buffer[self._state_offsets[delivery_id]] != _BEGUN

    def mark_unsent(self, message: OutgoingMessage) -> None:
        """Mark a message as not sent during this attempt."""
        self._buffer[self._state_offsets[message.delivery_id]] = _BEGUN

    def mark_sending(self, message: OutgoingMessage) -> bool:
        """Mark a message as being sent and return True, or return False if the run has lost its lease."""
        self._buffer[self._state_offsets[message.delivery_id]] = _DOT
        if self.may_send():  # checked after marking, so that nothing happens between the check and the dot
            return True
        self.mark_unsent(message)
        return False

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        """Mark the outcome of a message, unless it's uncertain.

        A refusal that the message itself may have caused is evaluated together with others, so the
        message is marked as unsent and retried if the process is killed.
        """
        if outcome.result is HandoverStatus.NOT_TRIED or outcome.may_blame_message:
            self.mark_unsent(message)
        elif outcome.result is not HandoverStatus.UNCERTAIN:
            state_offset = self._state_offsets[message.delivery_id]
            answer = f"{outcome.result} {outcome.reply}".encode()
            _ANSWER.pack_into(self._buffer, state_offset - _STATE_OFFSET + _BEGINNING.size, answer)
            self._buffer[state_offset] = _ANSWERED


class RunFile:
    """The progress file of one run.

    `owner` is the run's name in the deliveries that it claims.
    """

    def __init__(
        self,
        owner: str,
        buffer: mmap.mmap | bytearray,
        descriptor: int | None = None,
    ) -> None:
        self.owner = owner
        self._buffer = buffer
        self._descriptor = descriptor
        self._next_offset = _HEADER_SIZE
        self.may_send: Callable[[], bool] = lambda: True
        self._beginnings = count(1)
        self._slots: list[HandoverSlots] = []

    @classmethod
    def in_memory(cls, slot_count: int) -> "RunFile":
        """Return a run file whose slots are only in memory.

        If the process is killed, the deliveries it was handing over become uncertain.
        """
        return cls(_new_run_owner(), bytearray(_HEADER_SIZE + slot_count * _SLOT_SIZE))

    def take_slots(self, slot_count: int | None = None) -> HandoverSlots:
        """Return a pool of the next `slot_count` slots, or of all remaining slots."""
        end = len(self._buffer) if slot_count is None else self._next_offset + slot_count * _SLOT_SIZE
        assert end <= len(self._buffer), "more slots than the run's file has"
        slots = HandoverSlots(self._buffer, range(self._next_offset, end, _SLOT_SIZE), self._beginnings, self.may_send)
        self._next_offset = end
        self._slots.append(slots)
        return slots

    def release(self) -> None:
        """Release the lock, unless a worker may still be handing over messages.

        In that case, it's held until the process ends.
        """
        if self._descriptor is None or any(slots.is_busy for slots in self._slots):
            return
        assert isinstance(self._buffer, mmap.mmap), "a file is mapped"
        self._buffer.close()
        os.close(self._descriptor)
        self._descriptor = None


@contextmanager
def open_run_file(folder: Path, database_number: str, slot_count: int) -> Iterator[RunFile]:
    """Create a run file with slots, and delete it at the end of the block.

    After an error, the file is left to the process that gets its lock (`take_dead_runs`). If the
    file can't be created, for example because the disk is full, the slots are only in memory.
    """
    owner = _new_run_owner()
    path = folder / f"{owner.rpartition('/')[2]}{_SUFFIX}"
    try:
        run_file = _create_run_file(path, owner, database_number, slot_count)
    except OSError as exc:
        log.warning("this run has no progress file, so a crash would leave more deliveries uncertain", why=exc.strerror)
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
    """Yield the content of ended runs' files, and delete each file when the next one is requested.

    Runs of another boot or database are omitted, as are copied or unreadable files. The messages
    that such a run was handing over become uncertain.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # another process has taken it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (dead_run := _read_dead_run(path, _run_place(descriptor, database_number))) is not None:
                yield dead_run
            path.unlink(missing_ok=True)
        except BlockingIOError:  # it's still running
            continue
        finally:
            os.close(descriptor)


def list_abandoned_run_files(folder: Path) -> list[Path]:
    """Return the files of ended runs, which no process has locked.

    Unlike `take_dead_runs`, don't delete them.
    """
    return [path for path in sorted(folder.glob(f"*{_SUFFIX}")) if not _is_locked(path)]


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its run has just ended
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_database_instance_id(database: Database) -> str:
    """Return a string that identifies a database.

    A copied or restored database has a different one.
    """
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
        # If the disk were full, writing to the mapping would raise SIGBUS.
        os.posix_fallocate(descriptor, 0, size)
        header = json.dumps(_run_place(descriptor, database_number) | {"owner": owner}).encode("ascii")
        buffer = mmap.mmap(descriptor, size)
        buffer[:_HEADER_SIZE] = header.ljust(_HEADER_SIZE, b"\0")
    except BaseException:
        os.close(descriptor)
        raise
    return RunFile(owner, buffer, descriptor)


def _create_locked_file(path: Path) -> int:
    """Create and lock a file.

    It's created again if `take_dead_runs` found it empty and deleted it before it was locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _run_place(descriptor: int, database_number: str) -> dict[str, str]:
    """Return what identifies the run of an open file.

    A copied file has another inode.
    """
    return {
        "boot": _BOOT_ID_FILE.read_text("ascii").strip(),
        "database": database_number,
        "inode": str(os.fstat(descriptor).st_ino),
    }


def _read_dead_run(path: Path, place: Mapping[str, str]) -> DeadRun | None:
    content = path.read_bytes()
    if not content:  # its run hasn't locked it yet, and will create another one
        return None
    try:
        header = json.loads(content[:_HEADER_SIZE].rstrip(b"\0"))
        owner = header.pop("owner")
        if header == place:
            return DeadRun(owner, _read_outcomes(content))
    except (ValueError, KeyError, AttributeError) as exc:
        log.warning(
            "a run's progress file can't be read, so the messages being handed over are uncertain",
            why=type(exc).__name__,
        )
    return None


def _read_outcomes(content: bytes) -> dict[str, MessageOutcome]:
    """Return the outcome of each delivery from its latest slot.

    Raises:
        ValueError: an outcome is invalid.
    """
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
