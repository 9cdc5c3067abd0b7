"""A list that an admin brings in through the page, as a browser does it: uploaded, tried, imported; `digest serve` does the work."""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from digest.settings import Settings
from digest.store.delivery_models import StaffMember
from digest.store.engine import open_database
from digest.store.staff_sessions import begin_session
from digest.web.auth.cookies import CookieScope
from subscribers.crypto.keys import KeyRing

ADMIN = "ann@newsroom.example"
LOOK_SECONDS = 0.5  # between two looks at the page; a browser looks every two
_HIDDEN_FIELD = re.compile(r'<input[^>]* name="(?P<name>[^"]*)"[^>]* value="(?P<value>[^"]*)"')
_SELECT_FIELD = re.compile(r'<select[^>]* name="(column-\d+)">(.*?)</select>', re.DOTALL)
_SELECTED = re.compile(r'<option value="([^"]*)" selected>')


@dataclass(frozen=True, slots=True)
class PageImportResult:
    """How many rows came in, and the seconds that each step took, until the page said that it was done."""

    rows: int
    upload_seconds: float
    trial_seconds: float
    import_seconds: float


def sign_admin_in(settings: Settings, url: str) -> httpx.Client:
    """Take an admin on to the staff, and return a browser of theirs that has just signed in."""
    database, now = open_database(settings.effective_database_url), datetime.now(UTC)
    database.row_keys.find = lambda: KeyRing.load(settings.key_file)
    with database.write() as session:
        member = StaffMember(email=ADMIN, role="admin", added_at=now, added_by="terminal:bench", proven_at=now)
        session.add(member)
        session.flush()
        token = begin_session(session, member, network="loopback", browser="Firefox", now=now)
    database.close()
    return httpx.Client(base_url=url, cookies={CookieScope.from_settings(settings).session: token}, timeout=600)


def import_through_page(browser: httpx.Client, file: Path) -> PageImportResult:
    """Upload a list, try it with the columns that the page proposes, import it, and wait until the page says that it is done."""
    began = time.perf_counter()
    form = _hidden_fields(_open_page(browser, "/admin/import"))
    with file.open("rb") as rows:
        answer = browser.post("/admin/import", data=form, files={"file": (file.name, rows, "text/csv")})
    path = _next_path(answer)
    uploaded = time.perf_counter()
    page = _open_page(browser, path)
    columns = {
        name: selected[1] for name, options in _SELECT_FIELD.findall(page) if (selected := _SELECTED.search(options))
    }
    _next_path(browser.post(f"{path}/try", data=_hidden_fields(page) | columns))
    page = _wait_until_still(browser, path)
    tried = time.perf_counter()
    _next_path(browser.post(f"{path}/commit", data=_hidden_fields(page)))
    page = _wait_until_still(browser, path)
    imported = time.perf_counter()
    came_in = re.search(r"<b>Import \d+ is in\.</b> ([\d,]+) readers", page)
    if came_in is None:
        raise SystemExit(f"{path} does not say that the list is in")
    return PageImportResult(int(came_in[1].replace(",", "")), uploaded - began, tried - uploaded, imported - tried)


def _open_page(browser: httpx.Client, path: str) -> str:
    answer = browser.get(path)
    if answer.status_code != 200:
        raise SystemExit(f"{path} answers {answer.status_code}: {answer.text[:500]}")
    return answer.text


def _hidden_fields(page: str) -> dict[str, str]:
    return {field["name"]: field["value"] for field in _HIDDEN_FIELD.finditer(page) if field["name"] == "csrf_token"}


def _next_path(answer: httpx.Response) -> str:
    if answer.status_code != 303:
        raise SystemExit(f"{answer.url.path} answers {answer.status_code}: {answer.text[:500]}")
    return httpx.URL(answer.headers["Location"]).path


def _wait_until_still(browser: httpx.Client, path: str) -> str:
    while "Refresh" in (answer := browser.get(path)).headers:
        time.sleep(LOOK_SECONDS)
    return answer.text
