"""One IMAP connection (RFC 3501) to the bounce mailbox: TLS or nothing, by UID, with a limit on everything."""

import imaplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from digest.deliver.providers.replies import scrub_addresses
from digest.settings import BounceMailboxSettings
from subscribers.errors import ApplicationError

STEP_TIMEOUT = 30.0  # seconds for connecting and for each step
MAX_MESSAGE_BYTES = 1_000_000  # of a message; a report stands at the beginning, what came back may be cut
_UID_WINDOW = 50_000  # UIDs asked for at once: an answer is one line, and imaplib takes a megabyte
_NAMESPACE = re.compile(rb'\(\("([^"\\]*)" (?:"([^"\\])"|NIL)')  # RFC 2342: the personal one
_DELIMITER = re.compile(rb'\) "([^"\\])" ')


class MailboxError(ApplicationError):
    """The mailbox cannot be read; the message says why and what to do, and holds no password and no address."""

    @property
    def can_retry(self) -> bool:
        """Whether trying again may help: servers come back."""
        return True


class _BoundedImap(imaplib.IMAP4):
    def read(self, size: int) -> bytes:
        if size > 2 * MAX_MESSAGE_BYTES:  # the server was asked for less
            raise self.abort("it sends more than it was asked for")
        return super().read(size)


class _BoundedImapTls(_BoundedImap, imaplib.IMAP4_SSL):
    pass


class MailboxFolder:
    """The folder that bounces come to, opened for reading and for putting messages away.

    `uid_validity` names the numbering of its messages (UIDVALIDITY); `uid_next` is above every number there, or None where
    the server does not say.
    """

    def __init__(self, imap: imaplib.IMAP4, mailbox: BounceMailboxSettings) -> None:
        self._imap = imap
        self._server_name = mailbox.host_and_port
        self._done_folder = self._full_folder_name(mailbox.done) if mailbox.done else ""
        typ, said = imap.select(_quote_name(mailbox.folder))
        if typ != "OK":
            raise MailboxError(f"no folder {mailbox.folder}: {_reply_text(said)}. Put inbound.folder right.")
        self.uid_validity = self._response_number("UIDVALIDITY") or 0
        self.uid_next = self._response_number("UIDNEXT")

    def _response_number(self, code: str) -> int | None:
        value = self._imap.response(code)[1][0]
        return int(value) if value else None

    def _full_folder_name(self, name: str) -> str:
        """Put the server's own separator, and what its folders' names have to begin with, into a name."""
        prefix, delimiter = b"", None
        if "NAMESPACE" in self._imap.capabilities:
            found = _NAMESPACE.match(self._imap.namespace()[1][0] or b"")
            prefix, delimiter = found.groups() if found else (b"", None)
        else:
            told = self._imap.list('""', '""')[1][0]  # RFC 3501, 6.3.8: asks for the separator alone
            found = _DELIMITER.search(told) if isinstance(told, bytes) else None
            delimiter = found[1] if found else None
        name = name.replace("/", delimiter.decode("ascii")) if delimiter else name
        begins = prefix.decode("ascii")
        return name if name.startswith(begins) else begins + name

    def next_uids(self, first: int, limit: int) -> list[int]:
        """Give the numbers of the next messages, from `first` on, at most so many."""
        found: list[int] = []
        with _translate_errors(self._server_name):
            if self.uid_next is None:
                found = self._search_uids(first, "*")
            while self.uid_next is not None and first < self.uid_next and len(found) < limit:
                found += self._search_uids(first, str(first + _UID_WINDOW - 1))
                first += _UID_WINDOW
        return sorted(found)[:limit]

    def _search_uids(self, first: int, last: str) -> list[int]:
        _, told = self._imap.uid("SEARCH", "UID", f"{first}:{last}")
        numbers = [int(number) for line in told if line for number in line.split()]
        return [n for n in numbers if n >= first]  # n:* gives the last message, be it before n

    def fetch_message(self, uid: int) -> bytes | None:
        """Give a message, or its beginning, and leave it unseen; None where it is gone."""
        with _translate_errors(self._server_name):
            _, told = self._imap.uid("FETCH", str(uid), f"(BODY.PEEK[]<0.{MAX_MESSAGE_BYTES}>)")
        return next((one[1] for one in told if isinstance(one, tuple) and b"BODY[]" in one[0].upper()), None)

    def move_or_delete(self, uid: int) -> str:
        """Move a message to where stored ones go, or delete it; give why that cannot be done, else nothing."""
        with _translate_errors(self._server_name):
            if not self._done_folder:
                return self._delete(uid)
            typ, said = self._move(uid)
            if typ == "NO":
                self._imap.create(_quote_name(self._done_folder))  # if it is there already, something else is wrong
                typ, said = self._move(uid)
        return (
            "" if typ == "OK" else f"cannot move to {self._done_folder}: {_reply_text(said)}. Put inbound.done right."
        )

    def _move(self, uid: int) -> tuple[str, list[bytes | None]]:
        whole = "MOVE" in self._imap.capabilities  # RFC 6851
        typ, said = self._imap.uid("MOVE" if whole else "COPY", str(uid), _quote_name(self._done_folder))
        if typ == "OK" and not whole and (why := self._delete(uid)):
            return "NO", [why.encode()]
        return typ, said

    def _delete(self, uid: int) -> str:
        """Delete one message. A plain EXPUNGE would delete what others have marked too: without UIDPLUS it stays marked."""
        typ, said = self._imap.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Seen \Deleted)")
        if typ == "OK" and "UIDPLUS" in self._imap.capabilities:  # RFC 4315
            typ, said = self._imap.uid("EXPUNGE", str(uid))
        return "" if typ == "OK" else f"cannot delete what is stored: {_reply_text(said)}."


@contextmanager
def open_mailbox_folder(mailbox: BounceMailboxSettings, password: str) -> Iterator[MailboxFolder]:
    """Connect, secure, sign in and open the folder, for the length of the block.

    Raises:
        MailboxError: any of it failed; the folder's methods raise it too.
    """
    with _translate_errors(mailbox.host_and_port):
        imap = _connect_imap(mailbox)
    try:
        with _translate_errors(mailbox.host_and_port):
            _sign_in(imap, mailbox.user, password)
            folder = MailboxFolder(imap, mailbox)
        yield folder
        with suppress(imaplib.IMAP4.error, OSError):  # whatever a goodbye runs into is of no matter
            imap.logout()
    finally:
        with suppress(OSError):
            imap.shutdown()


@contextmanager
def _translate_errors(server_name: str) -> Iterator[None]:
    """Turn what goes wrong between the server and us into words for the operator."""
    try:
        yield
    except imaplib.IMAP4.error as exc:
        raise MailboxError(f"{server_name}: {_reply_text(exc.args)}") from None
    except ssl.SSLError as exc:
        why = getattr(exc, "verify_message", "") or exc.reason or "no TLS"
        raise MailboxError(f"no trusted TLS with {server_name}: {why}") from None
    except OSError as exc:
        raise MailboxError(f"no connection to {server_name}: {exc.strerror or type(exc).__name__}") from None
    except ValueError:  # a number that is none, and the like
        raise MailboxError(f"{server_name} does not speak IMAP as it should") from None


def _connect_imap(mailbox: BounceMailboxSettings) -> imaplib.IMAP4:
    host, port = mailbox.host_and_port.rsplit(":", 1)
    if mailbox.tls == "off":
        return _BoundedImap(host, int(port), timeout=STEP_TIMEOUT)
    try:
        context = ssl.create_default_context(cafile=mailbox.authorities or None)
    except OSError as exc:
        raise MailboxError(f"inbound.authorities: {exc.strerror or 'no certificate in it'}") from None
    if mailbox.tls == "implicit":
        return _BoundedImapTls(host, int(port), ssl_context=context, timeout=STEP_TIMEOUT)
    imap = _BoundedImap(host, int(port), timeout=STEP_TIMEOUT)
    try:
        imap.starttls(context)  # or an error: nothing is said in the clear
    except BaseException:
        with suppress(OSError):
            imap.shutdown()
        raise
    return imap


def _sign_in(imap: imaplib.IMAP4, user: str, password: str) -> None:
    try:
        if "AUTH=PLAIN" in imap.capabilities:  # RFC 4616: any letters may stand in it
            imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        else:
            imap.login(user, password)
    except UnicodeEncodeError:
        raise MailboxError("the server takes only plain letters in a password; choose another") from None
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as exc:
        said = scrub_addresses(_reply_text(exc.args).replace(password, "<password>"))
        raise MailboxError(
            f"the server refuses the sign-in: {said}. Check inbound.user and DIGEST_INBOUND_PASSWORD."
        ) from None
    told = imap.capability()[1][-1]  # there may be more after the sign-in
    if told:
        imap.capabilities = tuple(told.decode("ascii", "replace").upper().split())


def _quote_name(name: str) -> str:
    return f'"{name}"'  # the settings let no character through that would have to be escaped


def _reply_text(reply: object) -> str:
    parts = reply if isinstance(reply, (list, tuple)) else [reply]
    texts = (p.decode("utf-8", "replace") if isinstance(p, bytes) else str(p) for p in parts if p)
    return scrub_addresses(" ".join(texts)).rstrip(".")
