"""The state that all pages share: the installation, a clock, the style sheets, and caches.

It's created once by `app`.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

from flask import current_app
from jinja2 import BaseLoader, Environment

from digest.app.alerts.metrics import CachedMetrics
from digest.app.approval.recipient_counts import RecipientCountCache
from digest.app.doctor.health_reports import DoctorRunner
from digest.app.editions.count_cache import CountCache
from digest.app.sending.uploaded_logs import UploadedLogs
from digest.app.subscribers.address_searches import AddressSearches
from digest.app.subscribers.uploads import ListUploads
from digest.app.upkeep.background_backups import BackgroundBackups
from digest.edition.preflight.rule_registry import PreflightFinding
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import Database
from digest.web.kept_forms import KeptForms

STYLE_SHEET_FILES = {
    "reader": ("base.css", "reader.css", "public.css"),
    "desk": ("base.css", "desk.css", "edit.css", "views.css", "admin.css"),
    "inbox": ("base.css", "inbox.css"),
}
# Lines that only contain a comment are for readers of the source, and aren't sent to browsers.
_COMMENT_LINE = re.compile(r"(?m)^[ \t]*//.*\n")
SCRIPT_FILES = {
    "desk": ("desk.js", "preview.js"),
    "selection": ("selection.js", "search.js"),
    **{name: (f"{name}.js",) for name in ("images", "sending", "passkey", "codes", "downloads")},
}


def strip_comment_lines(script: str) -> str:
    """Return a script without the lines that contain only a comment."""
    return _COMMENT_LINE.sub("", script)


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """Style sheets or scripts, by public names that contain a hash of the text, such as `reader-1f2e3d4c.css`."""

    public_names: Mapping[str, str]
    text_by_name: Mapping[str, str]

    @classmethod
    def load(
        cls,
        loader: BaseLoader,
        files_by_name: Mapping[str, Sequence[str]],
        finish: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
    ) -> "PublicFiles":
        """Combine the texts of templates, preferring custom ones.

        `finish` transforms some of them, by name.
        """
        names: dict[str, str] = {}
        texts: dict[str, str] = {}
        nothing = Environment(autoescape=True)  # loaders require it, but don't use it
        for name, files in files_by_name.items():
            text = "".join(loader.get_source(nothing, f"web/{file}")[0] for file in files)
            text = finish[name](text) if name in finish else text
            suffix = files[-1].rpartition(".")[2]
            if suffix == "js":
                text = strip_comment_lines(text)
            names[name] = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.{suffix}"
            texts[names[name]] = text
        return cls(names, texts)

    def text(self, name: str) -> str | None:
        """Return the text with a public name, or None."""
        return self.text_by_name.get(name)


@dataclass(frozen=True, slots=True)
class WebAppState:
    """The state that the pages of one process share while the application exists."""

    installation: Installation
    clock: Callable[[], datetime]
    styles: PublicFiles
    scripts: PublicFiles
    searches: AddressSearches = field(default_factory=AddressSearches)
    health: DoctorRunner = field(default_factory=DoctorRunner)
    recipient_counts: RecipientCountCache = field(default_factory=RecipientCountCache)
    recent_counts: CountCache = field(default_factory=CountCache)
    logs: UploadedLogs = field(default_factory=UploadedLogs)
    metrics: CachedMetrics = field(default_factory=CachedMetrics)
    uploads: ListUploads = field(default_factory=ListUploads)
    backups: BackgroundBackups = field(default_factory=BackgroundBackups)
    kept_forms: KeptForms = field(default_factory=KeptForms)
    # What the last page of each edition showed, for responses that don't wait for another check.
    shown_findings: dict[str, Sequence[PreflightFinding]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        return self.installation.settings

    @property
    def database(self) -> Database:
        """The installation's database."""
        return self.installation.database

    @property
    def zone(self) -> ZoneInfo:
        """The publication's time zone, used for all dates and times on pages."""
        return self.settings.zone


def get_app_state() -> WebAppState:
    """Return the state of the running application."""
    app_state: WebAppState = current_app.extensions["digest"]
    return app_state
