"""The limit on the C library's memory pools."""

import ctypes
import subprocess
import sys

import pytest

COUNT_POOLS = """
import ctypes, sys, tempfile, threading
from subscribers.garbage_collection import limit_memory_arenas

if sys.argv[1] == "limited":
    limit_memory_arenas()
barrier = threading.Barrier(6)

def hold_memory():
    held = [bytearray(700) for _ in range(1000)]
    barrier.wait()

threads = [threading.Thread(target=hold_memory) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
library.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
library.fclose.argtypes = [ctypes.c_void_p]
with tempfile.NamedTemporaryFile("r") as report:
    file = library.fopen(report.name.encode(), b"w")
    library.malloc_info(0, file)
    library.fclose(file)
    print(report.read().count("<heap nr"))
"""


def count_pools(how: str) -> int:
    result = subprocess.run([sys.executable, "-c", COUNT_POOLS, how], capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library")
def test_threads_share_two_memory_pools() -> None:
    assert count_pools("unlimited") > 2
    assert count_pools("limited") <= 2
