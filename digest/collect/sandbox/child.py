"""What a child process does with one document. It is imported by the broker too, so it imports no parser at first."""

import os
import traceback

from digest.collect.sandbox.limits import MEMORY_EXIT_CODE, document_limits, hold_limits, restrict_process
from digest.collect.sandbox.wire import pack_message, unpack_message
from subscribers.errors import ApplicationError

PRELOADED_MODULES = ["digest.collect.sandbox.operations"]
MAX_REPLY_BYTES = 60_000_000


def prepare_child() -> None:
    """Give up, when the process starts, what no parser needs."""
    os.environ.clear()
    restrict_process()


def run_operation(message: bytes) -> bytes:
    """Run the operation that the message's head names, within the limits of its size; give the reply's message.

    What a parser refuses, and an error of ours, come back in the head. A document that needs too much memory ends
    the process, which may be left with little.
    """
    from digest.collect.sandbox.operations import OPERATIONS  # the parsers: loaded in children only

    head, body = unpack_message(message)
    try:
        with hold_limits(document_limits(len(message))):
            try:
                reply = pack_message(*OPERATIONS[head["operation"]](head, body))
            except ApplicationError as refusal:
                if _ran_out_of_memory(refusal):
                    raise MemoryError from refusal
                return pack_message({"refused": str(refusal)})
    except MemoryError:
        os._exit(MEMORY_EXIT_CODE)
    except Exception:  # noqa: BLE001  the parent reports it, with its trace
        return pack_message({"surprise": traceback.format_exc(limit=-8)[-4_000:]})
    if len(reply) > MAX_REPLY_BYTES:
        return pack_message({"limit": f"what it holds comes to more than {MAX_REPLY_BYTES // 1_000_000} MB"})
    return reply


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Say whether an error comes from a lack of memory: parsers wrap whatever their libraries raise."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
