"""An installation whose forms are flooded: its pages, its worker, and its provider, on one clock."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import func, select

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.installation.opened_installation import Installation
from digest.settings import UsageLimitSettings
from digest.web.app import create_app
from tests.moments import Clock


@dataclass
class FloodedSite:
    """An installation's pages, its worker and its provider (a folder of .eml files), on one clock."""

    world: Any
    limits: dict[str, int] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    handed_over: dict[str, list[datetime]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.world.install.settings
        file = settings.file.model_copy(update={"limits": UsageLimitSettings.model_validate(self.limits)})
        self.install = Installation(settings.model_copy(update={"file": file}), self.world.database)
        self.client: FlaskClient = create_app(self.install, clock=self.clock).test_client()
        self.folder = settings.outbox_folder / "notice"
        self.seen: set[str] = set()

    def post(self, path: str, data: dict[str, str], network: str) -> Any:
        return self.client.post(path, data=data, environ_base={"REMOTE_ADDR": network})

    def sign_up_through_proxy(self, address: str, network: str) -> int:
        """Send a form through the proxy that `proxies = 1` trusts."""
        headers = {"X-Forwarded-For": network}
        return int(self.client.post("/subscribe", data={"email": address}, headers=headers).status_code)

    def sign_up(self, address: str, network: str) -> int:
        return int(self.post("/subscribe", {"email": address, "agree": "yes", "wording": "1"}, network).status_code)

    def write_to_the_editors(self, network: str) -> int:
        return int(self.post("/contact", {"message": "Hello."}, network).status_code)

    def tick(self) -> None:
        """Answer forms and hand mails over, as the scheduler does every second."""
        process_signup_requests(self.install, clock=self.clock)
        send_due_transactional_emails(self.install, clock=self.clock)
        for path in sorted(self.folder.glob("*.eml")) if self.folder.exists() else []:
            if path.name not in self.seen:
                self.seen.add(path.name)
                recipient = re.search(r"^To: (?:.*<)?([^\s<>]+@[^\s<>]+?)>?$", path.read_text("ascii"), re.MULTILINE)
                assert recipient
                self.handed_over.setdefault(recipient[1], []).append(self.clock.now)

    def tick_until_idle(self, ticks: int = 12) -> None:
        for _ in range(ticks):
            self.tick()
            self.clock.now += timedelta(seconds=1)

    def count(self, table: type) -> int:
        with self.world.database.read() as session:
            return int(session.scalar(select(func.count()).select_from(table)) or 0)
