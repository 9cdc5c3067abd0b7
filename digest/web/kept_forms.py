"""Forms that are kept while someone signs in again.

They're only kept in memory, and no longer than a sign-in counts as recent.
"""

import re
import threading
from dataclasses import dataclass
from datetime import datetime

from flask import Request
from flask_wtf.csrf import validate_csrf

from digest.installation.audited_actions import CONFIRMATION_LIFETIME

TOKEN_FIELD = "csrf_token"  # noqa: S105 - the field's name
_SECRET_FIELD = "passphrase"  # noqa: S105 - the field's name
_SECRET_WORDS = ("passphrase", "password", "secret", "token", "code")  # in the names of fields
# These fields are filled in by the pages themselves, and are invisible.
_HIDDEN_FIELDS = frozenset(
    {"asks", "back", "field", "fingerprint", "mark", "release", "seen", "seq", "supersedes", "view"}
)
_HIDDEN_PREFIX = "was-"  # of fields with earlier values


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A submitted form: its fields without the token, its URL relative to the base URL, and its page (`back`).

    `action` describes it, such as "Find subscriber".
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    back: str
    kept_at: datetime
    action: str = ""

    @property
    def visible_fields(self) -> tuple[tuple[str, str], ...]:
        """The label and text of each filled-in field that's neither secret nor hidden."""
        return tuple((_write_label(name), text) for name, text in self.fields if text.strip() and _is_visible(name))


class KeptForms:
    """The kept forms of one process while the application exists, one per sign-in."""

    def __init__(self) -> None:
        self._forms: dict[str, KeptForm] = {}
        self._lock = threading.Lock()

    def keep(self, sign_in: str, form: KeptForm) -> None:
        """Keep a form, replacing an earlier one of the same sign-in, and discard expired ones."""
        with self._lock:
            self._drop_old(form.kept_at)
            self._forms[sign_in] = form

    def find(self, sign_in: str, *, now: datetime) -> KeptForm | None:
        """Discard expired forms, and return the form of a sign-in, or None."""
        with self._lock:
            self._drop_old(now)
            return self._forms.get(sign_in)

    def drop(self, sign_in: str, path: str | None = None) -> None:
        """Discard the form that was kept for a sign-in.

        With `path`, that's done only if it's submitted there.
        """
        with self._lock:
            form = self._forms.get(sign_in)
            if form is not None and path in (None, form.path):
                del self._forms[sign_in]

    def _drop_old(self, now: datetime) -> None:
        self._forms = {sign_in: form for sign_in, form in self._forms.items() if not _is_old(form, now)}


def _is_visible(name: str) -> bool:
    is_hidden = name in _HIDDEN_FIELDS or name.startswith(_HIDDEN_PREFIX)
    return not is_hidden and not any(word in name for word in _SECRET_WORDS)


def _write_label(name: str) -> str:
    """Return the name of a field or route as a label; for example, "paused_until" becomes "Paused until"."""
    return re.sub("[-_]+", " ", name).strip().capitalize()


def _is_old(form: KeptForm, now: datetime) -> bool:
    return now - form.kept_at >= CONFIRMATION_LIFETIME


def capture_kept_form(request: Request, back: str, *, now: datetime) -> KeptForm | None:
    """Return the form submitted with this request, if it can be kept.

    Return None if it has a file or passphrase, or if its form token is invalid.
    """
    if request.files or _SECRET_FIELD in request.form:
        return None
    try:
        validate_csrf(request.form.get(TOKEN_FIELD))
    except ValueError:
        return None
    typed = request.form.items(multi=True)
    fields = tuple((name, text) for name, text in typed if name != TOKEN_FIELD)
    action = _write_label((request.endpoint or "").rpartition(".")[2])
    return KeptForm(get_submitted_path(request), fields, back, now, action)


def get_submitted_path(request: Request) -> str:
    """Return the path that a form was submitted to, with its query, relative to the base URL."""
    return request.full_path.rstrip("?")
