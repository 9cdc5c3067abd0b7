"""Metrics: correct numbers, no personal data, and only with the token."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr, ValidationError

from digest.app.accounts.sign_in_log import SCOPE
from digest.deliver.control import installation_hold
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.alert_models import Alert
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState, ScheduleSlot
from digest.web.app import create_app
from subscribers.store.signup_models import RateLimitCount
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import ADA_ADDRESS

TOKEN = "a token of sixteen characters or more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def guard_metrics(world: Any, token: str | None) -> FlaskClient:
    """Return a client of the same installation with another token, or none."""
    settings = world.install.settings.model_copy(update={"metrics_token": SecretStr(token) if token else None})
    return create_app(Installation(settings, world.database), clock=lambda: NOW).test_client()


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
        session.add(ScheduleSlot(job="collect", at=NOW, owner="o", lease_until=NOW, done_at=NOW))
        session.add(RateLimitCount(scope=SCOPE, tag="wrong code", began=NOW - timedelta(minutes=50), count=2))
        installation_hold.pause_all_sending(session, "a look", actor="eve", now=NOW)
        stored = {"proved_at": NOW.isoformat(), "trouble": ""}
        installation_hold.write_installation_state(session, "backup", stored, now=NOW)
    answer = guard_metrics(both, TOKEN).get("/metrics", headers=BEARER)
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
        ("digest_refused_sign_ins",): 2,
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


def test_metrics_require_the_token_wherever_the_request_comes_from(world: Any) -> None:
    """A bare proxy on this machine asks from loopback and adds no header, so loopback proves nothing."""
    for origin in ("127.0.0.1", "::1", "203.0.113.9"):
        answer = guard_metrics(world, None).get("/metrics", environ_base={"REMOTE_ADDR": origin})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), origin
        assert "digest_people" not in answer.text
        assert "DIGEST_METRICS_TOKEN" in answer.text
    guarded = guard_metrics(world, TOKEN)
    assert guarded.get("/metrics").status_code == 401
    for said, status in (
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),  # RFC 9110, 11.1: the scheme's case doesn't matter
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer ", 401),
        ("Bearer t\u00f6ken", 401),
    ):
        answer = guarded.get("/metrics", headers={"Authorization": said})
        assert answer.status_code == status, said


@pytest.mark.parametrize("token", ["", " ", "short", "x" * 15])
def test_a_metrics_token_that_could_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="DIGEST_METRICS_TOKEN: use at least 16 characters"):
        Settings(metrics_token=SecretStr(token))


def test_who_asks_again_within_seconds_gets_the_same(world: Any) -> None:
    times = iter([NOW, NOW + timedelta(seconds=9), NOW + timedelta(seconds=10)])
    settings = world.install.settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    client = create_app(Installation(settings, world.database), clock=lambda: next(times)).test_client()
    held = []
    for _ in range(3):
        held.append(read_samples(client.get("/metrics", headers=BEARER).text)["digest_held",])
        with world.database.write() as session:
            installation_hold.pause_all_sending(session, "a look", actor="eve", now=NOW)
    assert held == [0, 0, 1]
