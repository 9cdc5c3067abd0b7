"""A broker on a kernel without Landlock, simulated by a filter that's installed before it starts."""

import ctypes
import errno
import struct

from digest.collect.sandbox.broker import serve_requests

ALLOW, NO_SUCH_CALL = 0x7FFF_0000, 0x0005_0000 | errno.ENOSYS


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forget_landlock() -> None:
    """Have the three calls of Landlock (444 to 446 on every machine) answered as by a kernel that never heard of them."""
    instructions = [
        (0x20, 0, 0, 0),
        (0x35, 0, 2, 444),
        (0x25, 1, 0, 446),
        (0x06, 0, 0, NO_SUCH_CALL),
        (0x06, 0, 0, ALLOW),
    ]
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(_FilterProgram(len(instructions), program)), 0, 0) == 0


if __name__ == "__main__":
    forget_landlock()
    serve_requests()
