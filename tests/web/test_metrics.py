"""Metrics: true numbers, nothing of a person, and for this machine or a token alone."""

from datetime import timedelta
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from digest.app.installation import Installation
from digest.deliver.control import installation_hold
from digest.store.alert_models import Alert
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState, TimetableSlot
from digest.web.app import create_app
from tests.conftest import ROOT
from tests.web.conftest import ADA_ADDRESS, NOW, RELEASE


def read_samples(text: str) -> dict[tuple[str, ...], float]:
    """Give every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_the_numbers_are_those_of_the_installation_and_name_nobody(both: Any) -> None:
    both.edition(state=EditionState.SENDING)
    due = {"person": both.ada, "due_at": NOW, "next_try_at": NOW}
    with both.database.write() as session:
        session.add(Delivery(id="a", purpose="edition:2026-W47", state=DeliveryState.ACCEPTED, **due))
        session.add(Delivery(id="b", purpose="confirm:1", state=DeliveryState.WAITING, **due))
        session.add(Alert(kind="disk-space", subject="", sentence="s", seen_at=NOW, opened_at=NOW))
        session.add(TimetableSlot(job="collect", at=NOW, owner="o", lease_until=NOW, done_at=NOW))
        installation_hold.hold_installation(session, "a look", actor="eve", now=NOW)
        stored = {"proved_at": NOW.isoformat(), "trouble": ""}
        installation_hold.write_installation_state(session, "backup", stored, now=NOW)
    answer = both.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert answer.headers["Cache-Control"] == "no-store"
    samples = read_samples(answer.text)
    expected = {
        ("digest_people", "subscribed"): 1,
        ("digest_people", "requested"): 0,
        ("digest_deliveries", "2026-W47", "accepted"): 1,
        ("digest_deliveries", "2026-W47", "waiting"): 0,
        ("digest_notices_due",): 1,
        ("digest_held",): 1,
        ("digest_alerts_open", "disk-space"): 1,
        ("digest_alerts_open", "dead-source"): 0,
        ("digest_job_done_timestamp_seconds", "collect"): NOW.timestamp(),
        ("digest_next_release_timestamp_seconds",): RELEASE.timestamp(),
        ("digest_backup_proved_timestamp_seconds",): NOW.timestamp(),
    }
    assert {key: samples.get(key) for key in expected} == expected
    assert samples["process_resident_memory_bytes",] > 0
    assert "@" not in answer.text
    assert ADA_ADDRESS.partition("@")[2] not in answer.text
    documented = (ROOT / "docs" / "maintenance.md").read_text("utf-8")
    for name, *_ in samples:
        assert name.startswith("process_") or f"`{name}`" in documented, name


def test_metrics_are_for_this_machine_or_for_who_has_the_token(world: Any) -> None:
    ask = world.client.get
    assert ask("/metrics", environ_base={"REMOTE_ADDR": "203.0.113.9"}).status_code == 403
    assert ask("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert ask("/metrics").status_code == 200
    settings = world.install.settings.model_copy(update={"metrics_token": SecretStr("a token")})
    guarded = create_app(Installation(settings, world.database), clock=lambda: NOW).test_client()
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    assert guarded.get("/metrics").status_code == 403
    for said, status in (
        ("Bearer a token", 200),
        ("Bearer another", 403),
        ("Bearer ", 403),
        ("Bearer t\u00f6ken", 403),
    ):
        answer = guarded.get("/metrics", headers={"Authorization": said}, environ_base=elsewhere)
        assert answer.status_code == status, said


def test_who_asks_again_within_seconds_gets_the_same(world: Any) -> None:
    times = iter([NOW, NOW + timedelta(seconds=9), NOW + timedelta(seconds=10)])
    client = create_app(world.install, clock=lambda: next(times)).test_client()
    held = []
    for _ in range(3):
        held.append(read_samples(client.get("/metrics").text)["digest_held",])
        with world.database.write() as session:
            installation_hold.hold_installation(session, "a look", actor="eve", now=NOW)
    assert held == [0, 0, 1]
