"""Metrics: correct numbers, no personal data, and only with the token."""

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr, ValidationError

from digest import __version__
from digest.app.accounts.sign_in_log import SCOPE
from digest.app.jobs import SLOT_JOBS
from digest.deliver.control import installation_hold
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store import schedule_slots
from digest.store.alert_models import Alert
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState, ScheduleSlot
from digest.store.process_identity import identify_current_process
from digest.templating import create_jinja_environment
from digest.timetable import JobSlot
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
        session.add(ScheduleSlot(job="untimed", at=NOW, owner="o", lease_until=NOW, done_at=NOW))
        earlier = NOW - timedelta(days=1)
        slower = {"taken_at": earlier - timedelta(hours=1), "done_at": earlier}
        session.add(ScheduleSlot(job="collect", at=earlier, owner="o", lease_until=NOW, **slower))
        session.add(RateLimitCount(scope=SCOPE, tag="wrong code", began=NOW - timedelta(minutes=50), count=2))
        installation_hold.pause_all_sending(session, "a look", actor="eve", now=NOW)
        stored = {"proved_at": NOW.isoformat(), "trouble": ""}
        installation_hold.write_installation_value(session, "backup", stored, now=NOW)
    owner = identify_current_process()
    for seconds, job in enumerate(SLOT_JOBS, 30):
        slot = JobSlot(job, NOW)
        assert schedule_slots.claim_slot(both.database, slot, owner, NOW - timedelta(seconds=seconds))
        schedule_slots.complete_slot(both.database, slot, "", NOW)
    answer = guard_metrics(both, TOKEN).get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert answer.headers["Cache-Control"] == "no-store"
    samples = read_samples(answer.text)
    expected: dict[tuple[str, ...], float | None] = {
        ("digest_info", __version__): 1,
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
        **{("digest_job_duration_seconds", job): seconds for seconds, job in enumerate(SLOT_JOBS, 30)},
        ("digest_job_duration_seconds", "untimed"): None,
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


def test_the_counts_of_the_last_regular_edition_stay_when_breaking_news_is_sent(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    both.edition(name="2026-W47-2", number=0, state=EditionState.SENT, release_at=NOW + timedelta(days=1))
    samples = read_samples(guard_metrics(both, TOKEN).get("/metrics", headers=BEARER).text)
    assert {labels[1] for labels in samples if labels[0] == "digest_deliveries"} == {"2026-W47"}


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
    with pytest.raises(
        ValidationError, match=r"DIGEST_METRICS_TOKEN(: use at least 16 characters| contains a line break)"
    ):
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


def test_requests_are_counted_by_area_and_status_with_their_durations(world: Any) -> None:
    client = guard_metrics(world, TOKEN)
    for path in ("/subscribe", "/subscribe", "/nowhere", "/desk/"):
        client.get(path)
    samples = read_samples(client.get("/metrics", headers=BEARER).text)
    prefix = "digest_request_duration_seconds"
    counts = {key[1:]: value for key, value in samples.items() if key[0] == f"{prefix}_count"}
    assert counts == {("signup", "2xx"): 2, ("none", "4xx"): 1, ("desk", "3xx"): 1}
    assert 0 < samples[f"{prefix}_sum", "signup", "2xx"] < 60
    assert samples[f"{prefix}_bucket", "signup", "+Inf", "2xx"] == 2
    documented = (ROOT / "docs" / "maintenance.md").read_text("utf-8")
    assert all(f"`{name}`" in documented for name, *_ in samples if name.startswith("digest_"))


def test_without_a_token_requests_are_not_measured(world: Any) -> None:
    client = guard_metrics(world, None)
    client.get("/subscribe")
    assert client.application.extensions["digest"].metrics._requests is None


def test_the_alert_rules_ask_for_metrics_and_jobs_that_there_are(world: Any, tmp_path: Path) -> None:
    with world.database.write() as session:
        taken = {"taken_at": NOW, "done_at": NOW, "owner": "o", "lease_until": NOW}
        session.add(ScheduleSlot(job="nightly", at=NOW, **taken))
        stored = {"proved_at": NOW.isoformat(), "trouble": ""}
        installation_hold.write_installation_value(session, "backup", stored, now=NOW)
    client = guard_metrics(world, TOKEN)
    client.get("/subscribe")
    answer = client.get("/metrics", headers=BEARER).text
    samples = [sample for family in text_string_to_metric_families(answer) for sample in family.samples]
    labels = {sample.name: sample.labels.keys() for sample in samples}
    # Prometheus sets these itself, and renames ours (prometheus.io/docs/concepts/jobs_instances).
    assert all(names.isdisjoint({"job", "instance"}) for names in labels.values())
    text = create_jinja_environment().get_template("setup/prometheus-rules.yml").render({"name": "Harbor Weekly"})
    (group,) = yaml.safe_load(text)["groups"]
    expressions = [rule["expr"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in group["rules"]}) == len(expressions) >= 10
    assert all(rule["annotations"]["summary"].endswith(".") for rule in group["rules"])
    assert {name for text in expressions for name in re.findall(r"digest_\w+", text)} <= labels.keys()
    filters = [match for text in expressions for match in re.findall(r'(digest_\w+)\{(\w+)="(\w+)"', text)]
    assert all(label in labels[name] for name, label, _ in filters)
    tasks = {value for _, label, value in filters if label == "task"}
    assert tasks == {"nightly"}
    assert tasks <= SLOT_JOBS.keys()
    (slow,) = (rule for rule in group["rules"] if rule["alert"] == "DigestJobSlow")
    assert "time() - digest_job_done_timestamp_seconds < 24 * 3600" in slow["expr"]  # a weekly job's alert ends
    assert "$labels.task" in slow["annotations"]["summary"]
    if promtool := shutil.which("promtool"):
        (tmp_path / "rules.yml").write_text(text, "utf-8")
        subprocess.run([promtool, "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)
