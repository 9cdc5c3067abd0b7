"""Kernel restrictions on the processes that parse documents.

Landlock restricts files, and seccomp restricts system calls. Newer versions of Landlock also
restrict TCP, abstract sockets, and signals. Both mechanisms apply to the calling process and all
processes that it starts, and can't be undone. On a system that lacks one of them, the other is
applied. `digest doctor` reports what isn't restricted.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_PATH_BENEATH = 1
# The rights that each version of Landlock added, for files, TCP, and other processes (abstract
# sockets, signals).
_FILE_RIGHTS = {1: 0x1FFF, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NETWORK_RIGHTS = {4: 0b11}
_SCOPES = {6: 0b11}

_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime")
_CODE_FOLDERS = {"site-packages", "dist-packages", "lib-dynload"}


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class Architecture:
    """A machine's seccomp ID (an AUDIT_ARCH number) and the numbers of its system calls by name."""

    audit_number: int
    calls: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AllowedCalls:
    """Allowed system calls by name.

    For a call in `conditions`, argument `index` must equal `value` after masking.
    """

    names: tuple[str, ...]
    conditions: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)  # name: (index, mask, value)


# The calls that processes need to compute, import modules, write to a pipe, and (at the end) start
# children, with their numbers on x86_64 and aarch64. Frequent calls come first, because the filter
# checks them in order.
_CALL_TABLE = """
read             0    63
write            1    64
futex            202  98
mmap             9    222
munmap           11   215
brk              12   214
mprotect         10   226
mremap           25   216
madvise          28   233
openat           257  56
close            3    57
newfstatat       262  79
fstat            5    80
lseek            8    62
stat             4    -
lstat            6    -
open             2    -
access           21   -
faccessat        269  48
faccessat2       439  439
readlink         89   -
readlinkat       267  78
statx            332  291
getdents64       217  61
getcwd           79   17
pread64          17   67
readv            19   65
writev           20   66
fcntl            72   25
dup              32   23
poll             7    -
ppoll            271  73
select           23   -
pselect6         270  72
clock_gettime    228  113
clock_getres     229  114
clock_nanosleep  230  115
nanosleep        35   101
gettimeofday     96   169
time             201  -
times            100  153
getrandom        318  278
getrusage        98   165
getrlimit        97   163
setrlimit        160  164
prlimit64        302  261
sysinfo          99   179
uname            63   160
getpid           39   172
getppid          110  173
gettid           186  178
getuid           102  174
geteuid          107  175
getgid           104  176
getegid          108  177
sched_yield      24   124
sched_getaffinity 204 123
rt_sigaction     13   134
rt_sigprocmask   14   135
rt_sigreturn     15   139
sigaltstack      131  132
restart_syscall  219  128
rseq             334  293
set_robust_list  273  99
set_tid_address  218  96
membarrier       324  283
arch_prctl       158  -
exit             60   93
exit_group       231  94
clone            56   220
wait4            61   260
kill             62   129
pipe2            293  59
dup2             33   -
dup3             292  24
close_range      436  436
prctl            157  167
"""
_CALLS = [row.split() for row in _CALL_TABLE.strip().splitlines()]
ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, {name: int(call) for name, call, _ in _CALLS}),
    "aarch64": Architecture(
        0xC00000B7,
        {name: int(call) for name, _, call in _CALLS if call != "-"},
    ),
}
_CLONE_THREAD = 0x0001_0000
_CLONE_NEW_NAMESPACES = 0x7E02_0080  # all of them: new user, mount, network, and other namespaces
_OWN_LIMITS = {"prlimit64": (0, 0xFFFF_FFFF, 0)}  # each process may set only its own limits
_BROKER_ONLY = ("wait4", "kill", "pipe2", "dup2", "dup3", "close_range", "prctl")
_NOT_FOR_CHILDREN = {*_BROKER_ONLY, *_OWN_LIMITS, "clone"}
_CHILD_NAMES = tuple(name for name, *_ in _CALLS if name not in _NOT_FOR_CHILDREN)
CHILD_CALLS = AllowedCalls(_CHILD_NAMES, {**_OWN_LIMITS, "clone": (0, _CLONE_THREAD, _CLONE_THREAD)})
_NO_NAMESPACE = (0, _CLONE_NEW_NAMESPACES, 0)
BROKER_CALLS = AllowedCalls((*_CHILD_NAMES, *_BROKER_ONLY), {**_OWN_LIMITS, "clone": _NO_NAMESPACE})


def build_filter(architecture: Architecture, allowed: AllowedCalls) -> bytes:
    """Return the BPF program that permits the allowed calls and makes all others fail with ENOSYS.

    C libraries then use an alternative. For example, they call clone instead of clone3, whose flags
    a filter can't read. A call for another architecture (32 bits) ends the process.
    """
    load, equal, mask, answer = 0x20, 0x15, 0x54, 0x06
    allow, no_such_call, kill_process = 0x7FFF_0000, 0x0005_0000 | errno.ENOSYS, 0x8000_0000
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture.audit_number),
        (answer, 0, 0, kill_process),
        (load, 0, 0, 0),
    ]
    for name in allowed.names:
        if (number := architecture.calls.get(name)) is not None:
            program += [(equal, 0, 1, number), (answer, 0, 0, allow)]
    for name, (index, bits, value) in allowed.conditions.items():
        program += [
            (equal, 0, 5, architecture.calls[name]),
            (load, 0, 0, 16 + 8 * index),
            (mask, 0, 0, bits),
            (equal, 0, 1, value),
            (answer, 0, 0, allow),
            (answer, 0, 0, no_such_call),
        ]
    program.append((answer, 0, 0, no_such_call))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def list_code_folders() -> Iterator[Path]:
    """Yield the folders and files that code is loaded from.

    These are the standard library, packages, shared libraries, and time zones. If a folder on the
    search path doesn't contain only packages (a checkout or the current folder), only the packages
    imported from it are yielded.
    """
    yield from map(Path, (*_LIBRARY_FOLDERS, *_SYSTEM_FILES, *zoneinfo.TZPATH))
    yield Path(sysconfig.get_path("stdlib"))
    yield Path(sys.base_prefix) / "lib"
    yield from (Path(entry) for entry in sys.path if Path(entry).name in _CODE_FOLDERS)
    for name, module in tuple(sys.modules.items()):
        if "." not in name:
            yield from map(Path, getattr(module, "__path__", ()))


def list_readable_paths(places: Iterable[Path], closed: Iterable[Path]) -> Iterator[Path]:
    """Yield the given places without the closed ones.

    If a place contains a closed one, its other entries are yielded instead. A place within a closed
    one is included, because it's code that was installed there.
    """
    closed = tuple(path.resolve() for path in closed)
    for place in dict.fromkeys(path.resolve() for path in places):
        yield from _leave_out_of(place, closed)


def _leave_out_of(place: Path, closed: tuple[Path, ...]) -> Iterator[Path]:
    if not any(path.is_relative_to(place) for path in closed):
        yield place
    elif place not in closed:
        for entry in sorted(place.iterdir()):
            if not entry.is_symlink():
                yield from _leave_out_of(entry, closed)


def confine_sandbox_broker(closed: Iterable[Path]) -> None:
    """Restrict this process, and all processes that it starts, to reading code.

    They can't connect to anything or run other programs. This can't be undone. `closed` is never
    readable, even within a folder of code.

    Raises:
        OSError: Landlock or seccomp is available but can't be applied. It isn't an error if
            they're unavailable.
    """
    places = tuple(list_readable_paths(list_code_folders(), closed))
    if _give_up_privileges():
        _restrict_files(places)
        _restrict_calls(BROKER_CALLS)


def confine_child() -> None:
    """Prevent this child of a confined broker from starting or signaling processes.

    The child ends when its broker does.
    """
    if _give_up_privileges():
        _libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        _restrict_calls(CHILD_CALLS)


def probe_sandbox() -> list[str]:
    """Attempt actions that a confined child must not be able to perform, and return those that succeed.

    The possible items are "files", "connections", and "processes".
    """
    attempts: dict[str, Callable[[], object]] = {
        "files": lambda: list(Path("/").iterdir()),
        "connections": lambda: socket.socket().close(),
        "processes": lambda: os.fork() or os._exit(0),
    }
    return [name for name, attempt in attempts.items() if not _is_refused(attempt)]


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False


def read_landlock_version() -> int:
    """Return the version of Landlock on this system (its ABI), or 0 if there's none."""
    return max(0, _landlock(_CREATE_RULESET, None, 0, 1)) if sys.platform == "linux" else 0


def _give_up_privileges() -> bool:
    return sys.platform == "linux" and not _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _restrict_files(places: Iterable[Path]) -> None:
    version = read_landlock_version()
    if not version:
        return
    rights = [_rights_until(version, by_version) for by_version in (_FILE_RIGHTS, _NETWORK_RIGHTS, _SCOPES)]
    ruleset = _landlock(_CREATE_RULESET, struct.pack("=QQQ", *rights), 24, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "can't create a Landlock ruleset")
    for place in places:
        try:
            opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # some systems don't have all of them
            continue
        rule = struct.pack("=Qi", _READ_FILE | (_READ_DIR if place.is_dir() else 0), opened)
        if _landlock(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0):
            raise OSError(ctypes.get_errno(), "can't create a Landlock rule", str(place))
        os.close(opened)
    if _landlock(_RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "can't apply the Landlock ruleset")
    os.close(ruleset)


def _rights_until(version: int, by_version: Mapping[int, int]) -> int:
    return sum(rights for since, rights in by_version.items() if since <= version)


def _restrict_calls(allowed: AllowedCalls) -> None:
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None or struct.calcsize("P") != 8:  # 32-bit programs use different call numbers
        return
    program = build_filter(architecture, allowed)
    filter_program = _FilterProgram(len(program) // 8, program)
    refused = _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_program), 0, 0)
    if refused and ctypes.get_errno() != errno.EINVAL:  # EINVAL means that the kernel doesn't support filters
        raise OSError(ctypes.get_errno(), "can't install the system call filter")


def _landlock(call: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(_libc().syscall(ctypes.c_long(call), *words))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
