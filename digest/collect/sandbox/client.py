"""The sandbox's client, which starts the sandbox on the first request from any thread.

For other packages, this module provides the functions of the parsers and the image codec.
"""

import atexit
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from digest.collect.documents.parsed_document import ParsedDocument, ParseError, decode_document
from digest.collect.documents.past_edition import PastEditionPage
from digest.collect.imaging.encoded_image import EncodedImage, ImageError, LogoColors, parse_encoded_image
from digest.collect.sandbox import wire
from digest.type_adapters import type_adapter
from subscribers.errors import ApplicationError

_STOP_SECONDS = 10.0
_ATTEMPTS = 3  # if the broker just exited because it was idle, it's restarted
_MAX_WORDS = 4_000  # maximum number of characters of a child's rejection or traceback
_Answer = TypeVar("_Answer")
_Head = dict[str, Any]  # the head of a message, as JSON


class DocumentRejectedError(ParseError):
    """Raised when a document can't be read.

    The message is the parser's, or says which limit was exceeded.
    """


class DocumentLimitError(DocumentRejectedError):
    """Raised when a document exceeds a limit on time, memory, or size."""


class SandboxError(ApplicationError):
    """Raised when the sandbox processes can't be started, or fail because of a bug."""


class BrokerLostError(Exception):
    """Raised when the broker exited before it replied."""


class BrokerProcess:
    """A running broker. It's thread-safe: each thread waits for its own reply."""

    def __init__(self, module: str, closed: Iterable[Path]) -> None:
        search_path = os.pathsep.join(map(os.path.abspath, sys.path))
        self.process = subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
            [sys.executable, "-s", "-P", "-m", module, *map(str, closed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # Not our own environment, which has settings and keys.
            env={"PYTHONPATH": search_path, "LC_ALL": "C.UTF-8"},
            cwd="/",
            start_new_session=True,  # this process handles Ctrl+C itself
        )
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[bytes]] = {}
        self._registry = threading.Lock()
        self._writing = threading.Lock()
        self.is_lost = False
        threading.Thread(target=self._receive_replies, name="sandbox", daemon=True).start()

    def ask(self, message: bytes) -> bytes:
        """Send a request as a message, and return the reply.

        Raises:
            BrokerLostError: the broker exited first.
        """
        number, future = next(self._numbers), Future[bytes]()
        with self._registry:
            if self.is_lost:
                raise BrokerLostError
            self._waiting[number] = future
        assert self.process.stdin, "opened as a pipe"
        try:
            with self._writing:
                wire.write_frame(self.process.stdin, number, message)
        except (OSError, ValueError) as error:
            # Set this here, because the reading thread may notice the exit later, and until then
            # all retries would use this broker.
            with self._registry:
                self.is_lost = True
                self._waiting.pop(number, None)
            raise BrokerLostError from error
        return future.result()

    def stop(self) -> None:
        """End the broker and all its children."""
        with self._writing:
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _receive_replies(self) -> None:
        assert self.process.stdout, "opened as a pipe"
        with self.process.stdout as replies:
            try:
                while frame := wire.read_frame(replies):
                    number, message = frame
                    with self._registry:
                        future = self._waiting.pop(number, None)
                    if future:
                        future.set_result(message)
            except (OSError, wire.OversizedMessageError):
                self.process.kill()
            with self._registry:
                self.is_lost, waiting = True, list(self._waiting.values())
            for future in waiting:
                future.set_exception(BrokerLostError())
        self.stop()


class Sandbox:
    """This process's broker, which is started on first use and restarted after it has exited."""

    def __init__(self, module: str = "digest.collect.sandbox") -> None:
        self._module = module
        self._closed: tuple[Path, ...] = ()
        self._starting = threading.Lock()
        self._broker: BrokerProcess | None = None
        self._owner = 0

    def keep_closed(self, places: Iterable[Path]) -> None:
        """Set the folders and files that brokers started from now on may never open."""
        self._closed = tuple(place.absolute() for place in places)

    def run(
        self,
        head: _Head,
        body: bytes,
    ) -> tuple[_Head, bytes]:
        """Run an operation on a document, and return the reply's head and body.

        Raises:
            DocumentRejectedError: the document can't be read or exceeds a limit.
            SandboxError: the broker keeps exiting, or the operation failed because of a
                bug.
        """
        message = wire.pack_message(head, body)
        if len(message) > wire.MAX_MESSAGE_BYTES:
            raise DocumentLimitError(
                f"The document is {len(body):,} bytes, over the limit of {wire.MAX_MESSAGE_BYTES:,}. Use a "
                "shorter document."
            )
        for _ in range(_ATTEMPTS):
            try:
                answer = self.ensure_running_broker().ask(message)
            except BrokerLostError:
                continue
            source, reply, content = _open_answer(answer)
            if source == wire.FROM_BROKER and reply.get("again"):
                continue
            if "limit" in reply:
                raise DocumentLimitError(
                    f"The program stopped reading the document ({_plain_words(reply['limit'])}), which is "
                    "much larger or more complex than usual. Report the problem to the publisher, or remove "
                    "the source. Other sources aren't affected."
                )
            if "refused" in reply:
                raise DocumentRejectedError(_plain_words(reply["refused"]))
            if "surprise" in reply:
                raise SandboxError(f"couldn't read the document: {_plain_words(reply['surprise'])}")
            return reply, content
        raise SandboxError(
            "The process that reads documents keeps crashing. Check whether the machine is out of memory."
        )

    def ensure_running_broker(self) -> BrokerProcess:
        """Return the broker, starting it if necessary.

        Raises:
            SandboxError: the system can't start it.
        """
        with self._starting:
            if self._owner != os.getpid():  # a fork has its parent's pipes, but none of its threads
                self._broker, self._owner = None, os.getpid()
            if self._broker is None or self._broker.is_lost:
                try:
                    self._broker = BrokerProcess(self._module, self._closed)
                except OSError as error:
                    raise SandboxError(f"Can't start the process that reads documents: {error.strerror}") from error
            return self._broker

    def stop(self) -> None:
        """End the broker if it's running."""
        with self._starting:
            broker, self._broker = self._broker, None
        if broker and self._owner == os.getpid():
            broker.stop()


SANDBOX = Sandbox()
atexit.register(SANDBOX.stop)


def _open_answer(answer: bytes) -> tuple[bytes, _Head, bytes]:
    """Return the first byte of a reply, which identifies its sender, and the reply's head and body.

    Raises:
        DocumentRejectedError: the reply has no head, so the child that wrote it must be
            compromised.
    """
    try:
        return answer[:1], *wire.unpack_message(answer[1:])
    except ValueError as error:
        raise _untrusted_answer(error) from error


def _untrusted_answer(error: Exception) -> DocumentRejectedError:
    return DocumentRejectedError(
        f"Reading the document gave an invalid result ({type(error).__name__}), as if the document had exploited the "
        "parser, so it was discarded. Inspect the document before you try it again, or remove the source."
    )


def _plain_words(value: object) -> str:
    """Return a child's value as a short text without control characters."""
    words = str(value)[:_MAX_WORDS]
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in words)


def _ask(
    operation: str,
    body: bytes,
    take: Callable[[_Head, bytes], _Answer],
    **head: Any,
) -> _Answer:
    """Run an operation, and return what `take` builds from the reply's head and body.

    `take` must check the type of every value.

    Raises:
        DocumentRejectedError: the document can't be read or exceeds a limit, or its reply is
            invalid.
        SandboxError: see `Sandbox.run`.
    """
    reply, content = SANDBOX.run({"operation": operation, **head}, body)
    try:
        return take(reply, content)
    except (ValueError, RecursionError) as error:
        raise _untrusted_answer(error) from error


def parse_document(
    body: bytes,
    *,
    url: str,
    now: datetime,
    charset: str | None = None,
) -> ParsedDocument:
    """Parse a document in a child process, as `parsers.parse_document` does.

    Raises:
        ParseError: the document can't be parsed or exceeds a limit.
    """
    return _ask("document", body, decode_document, now=now.isoformat(), url=url, charset=charset)


def parse_saved_file_in_child(body: bytes, *, file_url: str, site: str, now: datetime) -> ParsedDocument:
    """Parse a saved document in a child process, as `parsers.saved_file.parse_saved_file` does.

    Raises:
        ParseError: the document can't be parsed or exceeds a limit.
    """
    return _ask("saved file", body, decode_document, now=now.isoformat(), file_url=file_url, site=site)


@dataclass(frozen=True, slots=True)
class ArticlePageFindings:
    """Facts stated on an article's page. Each is empty if missing or if the page can't be read.

    `barrier` is why a visitor can't read the page. `supersession` is the status of the advisory on
    it ("superseded by …"). `publisher` is its publisher.
    """

    barrier: str = ""
    supersession: str = ""
    publisher: str = ""


def read_article_page_in_child(body: bytes, *, charset: str | None) -> ArticlePageFindings:
    """Parse an article's page in a child process, and return the facts that it states.

    All facts are empty if the page can't be read.
    """
    try:
        return _ask("article page", body, _take_head(ArticlePageFindings), charset=charset)
    except (DocumentRejectedError, SandboxError):  # a page that can't be read has no facts
        return ArticlePageFindings()


def read_past_edition_in_child(
    body: bytes,
    *,
    url: str,
    now: datetime,
    charset: str | None = None,
) -> PastEditionPage:
    """Parse a past edition in a child process.

    See `digest.collect.parsers.past_edition.read_past_edition`.

    Raises:
        ParseError: the edition can't be parsed or exceeds a limit.
    """
    take = _take_head(PastEditionPage)
    return _ask("past edition", body, take, now=now.isoformat(), url=url, charset=charset)


def probe_child_sandbox() -> list[str]:
    """Return the resources that a sandboxed child can use but shouldn't be able to: "files", "connections", or "processes".

    Raises:
        SandboxError: the sandbox can't be started, or fails.
    """
    try:
        return _ask(
            "list open doors",
            b"",
            lambda reply, _: type_adapter(list[str]).validate_python(reply.get("doors")),
        )
    except DocumentRejectedError as refusal:
        raise SandboxError(str(refusal)) from refusal


def unpack_list_in_child(body: bytes) -> Iterator[bytes]:
    """Yield the table of a ZIP file or spreadsheet in pieces, unpacked in a child process.

    See `subscribers.transfer.packed_lists.unpack_list`.

    Raises:
        DocumentRejectedError: there's no table, or it exceeds a limit.
        SandboxError: see `Sandbox.run`.
    """
    place, more = 0, True
    while more:
        more, piece = _ask("unpack list", body, _take_piece, start=place)
        place += len(piece)
        yield piece


def _take_piece(reply: _Head, content: bytes) -> tuple[bool, bytes]:
    return bool(reply.get("more")) and bool(content), content


def _take_head(kind: type[_Answer]) -> Callable[[_Head, bytes], _Answer]:
    return lambda reply, _: type_adapter(kind).validate_python(reply)


def encode_image_in_child(operation: str, body: bytes, **head: Any) -> EncodedImage:
    """Run one of the image `OPERATIONS` in a child process, with `head` as its parameters.

    Raises:
        ImageError: the image can't be produced or exceeds a limit.
    """
    return _ask_about_image(operation, body, parse_encoded_image, **head)


def count_colors_in_child(body: bytes) -> LogoColors:
    """Return the colors of a stored logo, counted in a child process.

    Raises:
        ImageError: `body` isn't an image or exceeds a limit.
    """
    return _ask_about_image("count colors", body, _take_head(LogoColors))


def _ask_about_image(operation: str, body: bytes, take: Callable[[_Head, bytes], _Answer], **head: Any) -> _Answer:
    try:
        return _ask(operation, body, take, **head)
    except DocumentRejectedError as refusal:
        raise ImageError(str(refusal)) from refusal
    except SandboxError as error:  # an image isn't worth delaying an edition for
        raise ImageError(f"can't be read ({str(error).splitlines()[-1]})"[:300]) from error
