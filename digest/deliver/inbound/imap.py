"""A bounded IMAP connection (RFC 3501, section 2.2) to the bounce mailbox, over TLS and by UID."""

import imaplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.providers.certificates import read_certificate_end
from digest.settings import BounceMailboxSettings
from subscribers.errors import ApplicationError

STEP_TIMEOUT = 30.0  # for connecting and for each step
MAX_MESSAGE_BYTES = 1_000_000  # a report comes first in a message, so the returned message may be truncated
_UID_WINDOW = 50_000  # UIDs per search: the response is a single line, and imaplib accepts a megabyte
_NAMESPACE = re.compile(rb'\(\("([^"\\]*)" (?:"([^"\\])"|NIL)')  # the personal namespace (RFC 2342, section 5)
_DELIMITER = re.compile(rb'\) "([^"\\])" ')


class MailboxError(ApplicationError):
    """Raised when the mailbox can't be read.

    The message says why and what to do, without the password or address.
    """

    can_retry = True  # servers usually recover


class _BoundedImap(imaplib.IMAP4):
    def read(self, size: int) -> bytes:
        if size > 2 * MAX_MESSAGE_BYTES:  # more than requested
            raise self.abort("the server sent more data than was requested")
        return super().read(size)


class _BoundedImapTls(_BoundedImap, imaplib.IMAP4_SSL):
    pass


class MailboxFolder:
    """The folder that receives bounces, for reading, moving, and deleting messages.

    `uid_validity` identifies the numbering of its messages (UIDVALIDITY). `uid_next` is greater
    than all UIDs in it, or None if the server doesn't say.
    """

    def __init__(
        self,
        imap: imaplib.IMAP4,
        mailbox: BounceMailboxSettings,
        *,
        readonly: bool = False,
    ) -> None:
        self._imap = imap
        self._server_name = mailbox.host_and_port
        self._done_folder = self._full_folder_name(mailbox.done) if mailbox.done else ""
        status, reply = imap.select(_quote_name(mailbox.folder), readonly)
        if status != "OK":
            raise MailboxError(
                f"there's no folder {mailbox.folder}: {_reply_text(reply)}.",
                remedy="Correct the folder setting under [inbound] in digest.toml.",
            )
        self.uid_validity = self._response_number("UIDVALIDITY") or 0
        self.uid_next = self._response_number("UIDNEXT")

    def _response_number(self, code: str) -> int | None:
        value = self._imap.response(code)[1][0]
        return int(value) if value else None

    def _full_folder_name(self, name: str) -> str:
        """Return a folder's full name, with the server's separator and the required prefix."""
        prefix, delimiter = b"", None
        if "NAMESPACE" in self._imap.capabilities:
            match = _NAMESPACE.match(self._imap.namespace()[1][0] or b"")
            prefix, delimiter = match.groups() if match else (b"", None)
        else:
            reply = self._imap.list('""', '""')[1][0]  # requests only the separator (RFC 3501, section 6.3.8)
            match = _DELIMITER.search(reply) if isinstance(reply, bytes) else None
            delimiter = match[1] if match else None
        name = name.replace("/", delimiter.decode("ascii")) if delimiter else name
        return prefix.decode("ascii") + name.removeprefix(prefix.decode("ascii"))

    def list_next_uids(self, first: int, limit: int) -> list[int]:
        """Return, in order, up to `limit` UIDs of messages, starting at `first`."""
        uids: list[int] = []
        with _translate_errors(self._server_name):
            if self.uid_next is None:
                uids = self._search_uids(first, "*")
            while self.uid_next is not None and first < self.uid_next and len(uids) < limit:
                uids += self._search_uids(first, str(first + _UID_WINDOW - 1))
                first += _UID_WINDOW
        return sorted(uids)[:limit]

    def _search_uids(self, first: int, last: str) -> list[int]:
        _, lines = self._imap.uid("SEARCH", "UID", f"{first}:{last}")
        uids = [int(uid) for line in lines if line for uid in line.split()]
        return [uid for uid in uids if uid >= first]  # n:* always includes the last message, even if it's before n

    def fetch_message(self, uid: int) -> bytes | None:
        """Return the first `MAX_MESSAGE_BYTES` of a message, leaving it unread, or None if it's gone."""
        with _translate_errors(self._server_name):
            _, items = self._imap.uid("FETCH", str(uid), f"(BODY.PEEK[]<0.{MAX_MESSAGE_BYTES}>)")
        literals = [item for item in items if isinstance(item, tuple)]
        return next((body for head, body in literals if b"BODY[]" in head.upper()), None)

    def move_or_delete(self, uid: int) -> str:
        """Move a message to the folder named by `inbound.done`, or delete it if none is set.

        Return "", or the reason if it failed.
        """
        with _translate_errors(self._server_name):
            if not self._done_folder:
                return self._delete(uid)
            status, reply = self._move(uid)
            if status == "NO":
                self._imap.create(_quote_name(self._done_folder))  # fails if it already exists
                status, reply = self._move(uid)
        if status == "OK":
            return ""
        return f"can't move messages to {self._done_folder}: {_reply_text(reply)}. Correct inbound.done."

    def _move(self, uid: int) -> tuple[str, list[bytes | None]]:
        can_move = "MOVE" in self._imap.capabilities  # RFC 6851, section 3.1
        command = "MOVE" if can_move else "COPY"
        status, reply = self._imap.uid(command, str(uid), _quote_name(self._done_folder))
        if status == "OK" and not can_move and (reason := self._delete(uid)):
            return "NO", [reason.encode()]
        return status, reply

    def _delete(self, uid: int) -> str:
        """Delete a message, and return "" or an error message.

        Without UIDPLUS, the message is only marked as deleted, because a plain EXPUNGE would delete
        other marked messages, too.
        """
        status, reply = self._imap.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Seen \Deleted)")
        if status == "OK" and "UIDPLUS" in self._imap.capabilities:  # RFC 4315, section 2.1
            status, reply = self._imap.uid("EXPUNGE", str(uid))
        return "" if status == "OK" else f"can't delete stored messages: {_reply_text(reply)}."


@contextmanager
def open_mailbox_folder(mailbox: BounceMailboxSettings, password: str) -> Iterator[MailboxFolder]:
    """Connect, sign in, and keep the folder open for the duration of the block.

    Raises:
        MailboxError: one of these steps failed. The folder's methods also raise it.
    """
    with _translate_errors(mailbox.host_and_port):
        imap = _connect_imap(mailbox)
    try:
        with _translate_errors(mailbox.host_and_port):
            _sign_in(imap, mailbox.user, password)
            folder = MailboxFolder(imap, mailbox)
        yield folder
        with suppress(imaplib.IMAP4.error, OSError):  # failures at this point don't matter
            imap.logout()
    finally:
        with suppress(OSError):
            imap.shutdown()


def check_mailbox_access(mailbox: BounceMailboxSettings, password: str, tls: ssl.SSLContext) -> datetime | None:
    """Sign in and open the folder read-only.

    Return when the certificate expires, or None without TLS.

    Raises:
        MailboxError: one of these steps failed.
    """
    with _translate_errors(mailbox.host_and_port):
        imap = _connect_imap(mailbox, tls)
    try:
        with _translate_errors(mailbox.host_and_port):
            _sign_in(imap, mailbox.user, password)
            MailboxFolder(imap, mailbox, readonly=True)
            valid_until = (
                read_certificate_end(imap.sock.getpeercert()) if isinstance(imap.sock, ssl.SSLSocket) else None
            )
        with suppress(imaplib.IMAP4.error, OSError):
            imap.logout()
        return valid_until
    finally:
        with suppress(OSError):
            imap.shutdown()


@contextmanager
def _translate_errors(server_name: str) -> Iterator[None]:
    """Convert connection errors to MailboxError."""
    try:
        yield
    except imaplib.IMAP4.error as exc:
        raise MailboxError(f"{server_name}: {_reply_text(exc.args)}") from None
    except ssl.SSLError as exc:
        cause = getattr(exc, "verify_message", "") or exc.reason or "no TLS"
        raise MailboxError(
            f"couldn't establish a trusted TLS connection to {server_name}: {cause.rstrip('.')}.",
            remedy=(
                "Under [inbound] in digest.toml, set host to the name in the server's certificate. If you use your own "
                "certificate authority, set authorities to a file with its certificates."
            ),
        ) from None
    except OSError as exc:
        raise MailboxError(
            f"couldn't connect to {server_name}: {exc.strerror or type(exc).__name__}.",
            remedy="Check that the server is running, and correct the host and port under [inbound] in digest.toml.",
        ) from None
    except ValueError:  # such as an invalid number
        raise MailboxError(f"{server_name} doesn't follow the IMAP protocol") from None


def _connect_imap(mailbox: BounceMailboxSettings, tls: ssl.SSLContext | None = None) -> imaplib.IMAP4:
    host, port = mailbox.host_and_port.rsplit(":", 1)
    if mailbox.tls == "off":
        return _BoundedImap(host, int(port), timeout=STEP_TIMEOUT)
    try:
        own = mailbox.authorities or tls is None
        context = ssl.create_default_context(cafile=mailbox.authorities or None) if own else tls
    except OSError as exc:
        raise MailboxError(
            f"can't read certificates from the file in inbound.authorities: {exc.strerror or 'there are none'}."
        ) from None
    if mailbox.tls == "implicit":
        return _BoundedImapTls(host, int(port), ssl_context=context, timeout=STEP_TIMEOUT)
    imap = _BoundedImap(host, int(port), timeout=STEP_TIMEOUT)
    try:
        imap.starttls(context)  # raises an error if it fails, so nothing is sent unencrypted
    except BaseException:
        with suppress(OSError):
            imap.shutdown()
        raise
    return imap


def _sign_in(imap: imaplib.IMAP4, user: str, password: str) -> None:
    try:
        if "AUTH=PLAIN" in imap.capabilities:  # allows any characters (RFC 4616, section 2)
            imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        else:
            imap.login(user, password)
    except UnicodeEncodeError:
        raise MailboxError("the server accepts only ASCII passwords; choose another password") from None
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as exc:
        reply = scrub_addresses(_reply_text(exc.args).replace(password, "<password>"))
        raise MailboxError(
            f"the server rejected the sign-in: {reply}.",
            remedy="Correct the user setting under [inbound] in digest.toml and DIGEST_INBOUND_PASSWORD in digest.env.",
        ) from None
    capabilities = imap.capability()[1][-1]  # the server may offer more after the sign-in
    if capabilities:
        imap.capabilities = tuple(capabilities.decode("ascii", "replace").upper().split())


def _quote_name(name: str) -> str:
    return f'"{name}"'  # the settings don't allow characters that would have to be escaped


def _reply_text(reply: object) -> str:
    parts = reply if isinstance(reply, (list, tuple)) else [reply]
    texts = (p.decode("utf-8", "replace") if isinstance(p, bytes) else str(p) for p in parts if p)
    return scrub_addresses(" ".join(texts)).rstrip(".")
