"""Each problem is reported once, by email and webhook, and once more when it's over."""

import base64
import hashlib
import hmac
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from pydantic import ValidationError
from pytest_httpserver import HTTPServer
from sqlalchemy import delete, func, select, text, update
from werkzeug import Request, Response

from digest.app.alerts import alert_log, alert_notifications
from digest.app.alerts.alert_log import OVER_AFTER, decide_alert_changes, update_alerts
from digest.app.alerts.channels.email import UNMAILED_KINDS
from digest.app.alerts.problem_detection import ALERT_KINDS, OWN_EMAIL_TIME, RECOVERY_TIME, DetectedProblem
from digest.app.approval import deadlines
from digest.app.sending import automatic_pause_emails, background_tasks
from digest.app.upkeep.nightly_steps import delete_old_alerts
from digest.deliver.control import edition_control, installation_hold
from digest.edition.content.edition_content import EditionContent
from digest.settings import AlertSettings, Settings, SettingsFileContent
from digest.store.alert_models import Alert, AlertNotification
from digest.store.audit import record_audit
from digest.store.delivery_models import Delivery, QueuedNoticeEmail, StaffMember
from digest.store.engine import Database
from digest.store.models import Edition
from tests.app.doctor.planted_operations import OPERATIONS_FAULTS, FaultyInstallation, slot
from tests.conftest import ROOT
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import AFTER_RELEASE as NOW

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two characters").decode()
MINUTE = timedelta(minutes=1)
# One planted fault for each check; the disk is filled by another way.
FAULTS = {fault.check: fault.plant for fault in reversed(OPERATIONS_FAULTS.values()) if fault.check in ALERT_KINDS}
FAULTS["stuck-job"] = lambda world: world.add(
    slot("collect", NOW - timedelta(hours=3), done=False)
)  # due at no usual time


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how much room the disk has: much, until told otherwise."""
    usage = shutil.disk_usage("/")

    def leave(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))

    leave(10**12)
    return leave


@pytest.fixture
def posts(httpserver: HTTPServer) -> list[Request]:
    """Take every post; give the list of them."""
    taken: list[Request] = []

    def take(request: Request) -> Response:
        taken.append(request)
        return Response(status=204)

    httpserver.expect_request("/hook", method="POST").respond_with_handler(take)
    return taken


@pytest.fixture
def world(one_database: Database, tmp_path: Path, httpserver: HTTPServer, roomy: object) -> FaultyInstallation:
    made = FaultyInstallation.make_sound(tmp_path, one_database)
    made.replace_setting("[limits]\n", '[limits]\nallow_networks = ["127.0.0.1/32"]\n')
    file = tmp_path / "digest.toml"
    file.write_text(f'{file.read_text()}\n[alerts]\nwebhook = "{httpserver.url_for("/hook")}"\n')
    made.set_variables(DIGEST_ALERT_SECRET=SECRET)
    return made


class Mender:
    """Puts an installation back as it was when this was made, but for its alerts and their mails."""

    def __init__(self, world: FaultyInstallation, kept: Path) -> None:
        self.world, self.kept = world, kept
        shutil.copytree(world.home, kept, ignore=shutil.ignore_patterns("digest.db*", kept.name))
        with closing(sqlite3.connect(world.home / "digest.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(kept / "kept.db"),))

    def mend(self) -> None:
        shutil.rmtree(self.world.home / "runs", ignore_errors=True)
        for file in self.kept.iterdir():
            if file.name != "kept.db" and file.is_file():
                shutil.copy2(file, self.world.home / file.name)
        with closing(sqlite3.connect(self.world.home / "digest.db")) as connection, connection:
            connection.execute("ATTACH ? AS kept", (str(self.kept / "kept.db"),))
            found = connection.execute("SELECT name FROM kept.sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in found:
                if not name.startswith(("alert", "notice", "archived_story", "sqlite_")):
                    told = " WHERE purpose LIKE 'alert:%'" if name == "delivery" else " WHERE 0"
                    connection.execute(
                        f"DELETE FROM main.{name} WHERE rowid NOT IN (SELECT rowid FROM main.{name}{told})"
                    )
                    connection.execute(f"INSERT INTO main.{name} SELECT * FROM kept.{name}")


def use_real_keys(world: FaultyInstallation, vault_key: str) -> None:
    """Have the planted rows name a key that there is: they are no fault of the key file."""
    with world.database.engine.begin() as connection:
        for table in ("provider_erasure", "inbound"):
            connection.execute(text(f"UPDATE {table} SET key_id = :key"), {"key": vault_key})


def look(world: FaultyInstallation, later: timedelta = timedelta(0)) -> str:
    install = world.open()
    said = update_alerts(install, now=NOW + later)
    alert_notifications.send_alert_notifications(install, now=NOW + later)
    return said


def told(posts: list[Request]) -> list[tuple[str, str]]:
    events = [json.loads(post.data) for post in posts]
    return [(event["type"], event["data"]["kind"]) for event in events]


@pytest.mark.sqlite  # a file puts the installation back after each fault
def test_every_alert_arrives_once_and_ends(
    world: FaultyInstallation,
    posts: list[Request],
    roomy: Callable[[int], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert look(world) == "", "a sound installation needs nobody"
    mender = Mender(world, tmp_path_factory.mktemp("kept") / "home")
    faults: dict[str, Callable[[FaultyInstallation], object]] = {
        **FAULTS,
        "disk-space": lambda _world: roomy(900_000_000),
    }
    assert faults.keys() == set(ALERT_KINDS), "every kind is provoked"
    vault_key = world.open().keys.current("vault").id
    handler = RecordingHandler()
    with run_smtp_server(handler) as port:
        world.set_variables(DIGEST_MAIL_URL=f"smtp://127.0.0.1:{port}?starttls=off")
        shutil.copy2(world.home / "digest.env", mender.kept)
        for kind, plant in faults.items():
            posts.clear()
            plant(world)
            use_real_keys(world, vault_key)
            for later in (0 * MINUTE, RECOVERY_TIME, RECOVERY_TIME + MINUTE):
                look(world, later)
            assert told(posts) == [("alert.opened", kind)]
            mender.mend()
            roomy(10**12)
            for later in (12 * MINUTE, 12 * MINUTE + OVER_AFTER, 30 * MINUTE):
                look(world, later)
            assert told(posts) == [("alert.opened", kind), ("alert.over", kind)]
        for minutes in range(60, 70):  # a process that falls silent on a slow machine tries the rest a minute later
            background_tasks.send_due_transactional_emails(world.open(), clock=lambda: NOW + minutes * MINUTE)  # noqa: B023
    mails = [message_from_bytes(body, policy=policy.default) for _, _, body in handler.messages]
    subjects = Counter(mail["Subject"] for mail in mails)
    # Without the keys no email can be queued: it's tried again, and by then it tells of the end as well.
    assert subjects == {
        "1 problem needs your attention": len(ALERT_KINDS) - len(UNMAILED_KINDS),
        "An alert is resolved": len(ALERT_KINDS) - len(UNMAILED_KINDS | {"key-file"}),
    }
    assert {mail["To"] for mail in mails} == {"eve@hls.test"}
    opened = [mail for mail in mails if mail["Subject"] != "An alert is resolved"]
    bodies = "".join(mail.get_body(("plain",)).get_content() for mail in opened)  # type: ignore[union-attr]
    for words in (
        "Products no longer works",
        "digest uncertain",
        "failed (no room). To try again, use 'digest backup'.",
    ):
        assert words in " ".join(bodies.split())


def test_a_post_is_signed_and_names_no_address(world: FaultyInstallation, posts: list[Request]) -> None:
    world.add_subscriber()
    FAULTS["missing-backup"](world)
    with world.database.write() as session:
        stored = {"trouble": "ada@example.org said no", "tried_at": NOW.isoformat()}
        installation_hold.write_installation_value(session, "backup", stored, now=NOW)
    look(world, -RECOVERY_TIME)
    look(world)
    (post,) = posts
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.data
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert post.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
    assert int(post.headers["webhook-timestamp"]) == NOW.timestamp()
    event = json.loads(post.data)
    assert (
        event["data"]["sentence"]
        == "The backup of Nov. 20, 7 a.m. ET failed ([address] said no). To try again, use 'digest backup'."
    )
    assert event["data"]["over_since"] is None
    assert b"@" not in post.data


def test_a_post_that_fails_is_tried_six_times_and_then_given_up(
    world: FaultyInstallation, httpserver: HTTPServer
) -> None:
    tries: list[str] = []

    def refuse(request: Request) -> Response:
        tries.append(request.headers["webhook-id"])
        return Response(status=302, headers={"Location": "/elsewhere"})

    httpserver.expect_request("/hook").respond_with_handler(refuse)
    FAULTS["held"](world)
    update_alerts(world.open(), now=NOW)
    tried_at = []
    for minutes in range(60 * 48):
        before = len(tries)
        if minutes < 200 or minutes % 60 == 0:
            alert_notifications.send_alert_notifications(world.open(), now=NOW + minutes * MINUTE)
        if len(tries) > before:
            tried_at.append(minutes)
    assert tried_at == [0, 1, 6, 36, 156, 900]
    assert len(set(tries)) == 1, "a receiver knows a repeated post by its id"
    with world.database.read() as session:
        (post,) = session.scalars(select(AlertNotification))
    assert (post.attempts, post.trouble, post.done_at) == (6, "status 302", None)


def test_what_one_channel_took_is_tried_again_over_the_other_alone(
    world: FaultyInstallation, httpserver: HTTPServer
) -> None:
    httpserver.expect_ordered_request("/hook").respond_with_data(status=503)
    httpserver.expect_ordered_request("/hook").respond_with_data(status=204)
    FAULTS["missing-backup"](world)
    look(world, -RECOVERY_TIME)
    for minutes in (0, 1, 2):
        look(world, minutes * MINUTE)
    with world.database.read() as session:
        posts = session.scalars(select(AlertNotification).order_by(AlertNotification.channel))
        told = {post.channel: (post.attempts, post.trouble, post.done_at) for post in posts}
        emails = session.scalar(select(func.count()).select_from(Delivery).where(Delivery.purpose.like("alert:%")))
    assert told == {"email": (1, "", NOW), "webhook": (2, "", NOW + MINUTE)}
    assert (emails, len(httpserver.log)) == (1, 2)


def test_a_webhook_in_a_network_that_is_not_allowed_is_not_reached(
    world: FaultyInstallation, posts: list[Request]
) -> None:
    world.replace_setting('allow_networks = ["127.0.0.1/32"]', "")
    FAULTS["held"](world)
    look(world)
    assert posts == []
    with world.database.read() as session:
        (post,) = session.scalars(select(AlertNotification))
    assert "can't be reached from here" in post.trouble


def alert(number: int, **columns: object) -> Alert:
    usual = {"id": number, "kind": "disk-space", "subject": "", "sentence": "s", "seen_at": NOW, "opened_at": NOW}
    return Alert(**{**usual, **columns})


DISK, JOB = DetectedProblem("disk-space", "", "s"), DetectedProblem("stuck-job", "", "s")


def test_what_comes_and_goes_is_one_alert() -> None:
    assert decide_alert_changes([], [DISK], NOW).new == [DISK]
    assert not decide_alert_changes([alert(1)], [DISK], NOW)
    assert decide_alert_changes([alert(1)], [], NOW).missing == [1]
    gone = alert(1, missing_since=NOW)
    assert not decide_alert_changes([gone], [], NOW + OVER_AFTER - MINUTE)
    assert decide_alert_changes([gone], [DISK], NOW + MINUTE).back == [1]
    assert decide_alert_changes([gone], [], NOW + OVER_AFTER).over == [1]


def test_what_a_start_mends_by_itself_is_not_told() -> None:
    seen = alert(1, kind="stuck-job", opened_at=None)
    assert not decide_alert_changes([seen], [JOB], NOW + RECOVERY_TIME - MINUTE)
    assert decide_alert_changes([seen], [], NOW + MINUTE).dropped == [1]
    assert decide_alert_changes([seen], [JOB], NOW + RECOVERY_TIME).opened == [1]


def test_of_two_that_look_at_once_one_tells(database: Database) -> None:
    with database.write() as session:
        changes = decide_alert_changes([], [DISK, JOB], NOW)
        opened, _ = alert_log._store_changes(session, changes, NOW)
        assert [one.kind for one in opened] == ["disk-space"]
    with database.write() as session:
        assert alert_log._store_changes(session, changes, NOW) == ([], []), (
            "it saw what the other one had not stored yet"
        )
    later = NOW + RECOVERY_TIME
    with database.read() as session:
        known = alert_log._read_known(session)
        opens = decide_alert_changes(known, [DISK, JOB], later)
        ends = decide_alert_changes([alert(one.id, kind=one.kind, missing_since=NOW) for one in known], [], later)
    for changes, kinds in ((opens, {"stuck-job"}), (ends, {"disk-space", "stuck-job"})):
        with database.write() as session:
            opened, over = alert_log._store_changes(session, changes, later)
            assert {one.kind for one in (*opened, *over)} == kinds
        with database.write() as session:
            assert alert_log._store_changes(session, changes, later) == ([], [])


def test_mail_goes_to_admins_or_all_of_the_staff_or_nobody(world: FaultyInstallation) -> None:
    world.add(StaffMember(email="ed@hls.test", role="editor", added_at=NOW, added_by="x", proven_at=NOW))
    mails = []
    for n, wanted in enumerate(("admins", "staff", "off")):
        text = (world.home / "digest.toml").read_text().partition('\nmail = "')[0]
        (world.home / "digest.toml").write_text(f'{text.rstrip()}\nmail = "{wanted}"\n')
        world.add(
            Alert(
                kind="disk-space",
                subject=str(n),
                sentence="s",
                seen_at=NOW,
                opened_at=NOW,
                missing_since=NOW - OVER_AFTER,
            )
        )
        look(world)
        with world.database.read() as session:
            mails.append(session.scalar(select(func.count()).select_from(Delivery)))
    assert mails == [1, 3, 3]


def miss_deadline(world: FaultyInstallation) -> None:
    FAULTS["missed-deadline"](world)
    content = EditionContent("2026-W47", 147, "Ports", "", "Friday", 1, "", "", (), released_on=date(2026, 11, 20))
    with world.database.write() as session:
        session.execute(update(Edition).values(content=content.as_json()))
    deadlines.apply_deadline_rule(world.open(), now=NOW)


def trip_stop_rule(world: FaultyInstallation) -> None:
    FAULTS["paused"](world)
    with world.database.write() as session:
        name = session.scalars(select(Edition.name).where(Edition.paused_at.is_not(None))).one()
        record_audit(session, "paused", name, {}, actor=edition_control.AUTOMATIC_ACTOR, now=NOW)
    automatic_pause_emails.email_automatic_pauses(world.open(), now=NOW)


@pytest.mark.parametrize(("kind", "cause"), [("missed-deadline", miss_deadline), ("paused", trip_stop_rule)])
@pytest.mark.parametrize("has_own_email", [True, False])
def test_an_alert_is_emailed_unless_the_row_of_its_own_email_exists(
    world: FaultyInstallation, kind: str, cause: Callable[[FaultyInstallation], None], *, has_own_email: bool
) -> None:
    cause(world)
    with world.database.write() as session:
        own_emails = select(Delivery.id).where(Delivery.purpose.like("deadline:%") | Delivery.purpose.like("alarm:%"))
        (own_email,) = session.scalars(own_emails)
        if not has_own_email:  # as after an outage, or where the job that queues it failed
            session.execute(delete(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery == own_email))
            session.execute(delete(Delivery).where(Delivery.id == own_email))
    for later in (0 * MINUTE, OWN_EMAIL_TIME):
        look(world, later)
    with world.database.read() as session:
        channels = session.scalars(
            select(AlertNotification.channel)
            .join(Alert, Alert.id == AlertNotification.alert_id)
            .where(Alert.kind == kind)
        ).all()
    assert sorted(channels) == (["webhook"] if has_own_email else ["email", "webhook"])


def test_old_alerts_go(world: FaultyInstallation, posts: list[Request]) -> None:
    FAULTS["held"](world)
    look(world)
    with world.database.write() as session:
        session.scalars(select(Alert)).one().ended_at = NOW
    assert delete_old_alerts(world.open(), NOW + timedelta(days=89)) == "0 old alerts deleted"
    assert delete_old_alerts(world.open(), NOW + timedelta(days=91)) == "1 old alerts deleted"
    with world.database.read() as session:
        assert session.scalars(select(AlertNotification)).all() == []
    assert len(posts) == 1


def test_a_webhook_wants_https_and_a_secret() -> None:
    with pytest.raises(ValidationError, match="isn't an https URL"):
        AlertSettings(webhook="http://hooks.example.org/x")
    file = SettingsFileContent(alerts=AlertSettings(webhook="https://hooks.example.org/x"))
    with pytest.raises(ValidationError, match="DIGEST_ALERT_SECRET is required"):
        Settings(file=file)


def test_every_kind_of_alert_is_explained_among_the_doctor_checks() -> None:
    explained = re.findall(r"(?m)^## (.+)$", (ROOT / "docs" / "doctor.md").read_text("utf-8"))
    assert set(ALERT_KINDS) - set(explained) == set()
