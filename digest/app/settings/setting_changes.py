"""Viewing and changing settings on the settings pages.

The pages also show related environment variables, findings, and past changes.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ValidationError
from sqlalchemy import Select, select

from digest.app.alerts.channels import explain_unusable_channels
from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import drop_consequences, run_checks
from digest.app.upkeep import audit_log
from digest.catalogs import CatalogError, list_languages, load_language, name_language
from digest.deliver.providers.kind import DoctorFinding, ProviderSettingsError
from digest.deliver.providers.registry import list_sender_problems, provider_in_use
from digest.edition.approval.unpublished_setting_changes import SHOWN_TABLES
from digest.edition.brand_images import find_logo_problems
from digest.edition.calendar import calendar_store
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseCalendar, StepRules, plan_steps
from digest.installation.audited_actions import Action, Actor, PendingAuditEntry
from digest.installation.guarded_action_notices import find_guarded_notice_recipients
from digest.installation.opened_installation import Installation
from digest.settings import BrandingSettings, ScheduleSettings, SectionSettings, Settings, SettingsError, file_edits
from digest.settings.environment_overrides import SettingPath, find_overriding_variable
from digest.settings.guarded_areas import GuardedArea, find_guarded_area
from digest.settings.mail_frequency import MailFrequency
from digest.settings.model import SettingsFileContent
from digest.settings.table_values import (
    SettingsValueError,
    describe_change,
    find_changed_values,
    fingerprint_values,
    replace_section_list,
    update_table,
)
from digest.settings.values import ASKED_TWICE, SHOWN_BY_HOST, NeverEmptied, SettingsTable
from digest.store.audit import SETTINGS_CHANGED
from digest.store.models import AuditEntry, Edition, EditionState
from digest.timetable import ScheduleRule, parse_schedule_rule
from subscribers.english_text import join_words

CHANGE = Action(SETTINGS_CHANGED)
LOOK = Action("settings looked at")
EDITABLE_TABLES = (
    "publication",
    "branding",
    "consent",
    "preferences",
    "sections",
    "schedule",
    "sender",
    "limits",
    "approval",
    "alerts",
    "heartbeats",
    "backup",
)
LISTED_CHANGES = 5
MIN_VISIT_PERIOD = timedelta(minutes=5)
PREVIEWED_RELEASES = 10
EARLY_DRAFT = timedelta(days=3)  # between an edition's last draft and its send time
_SETTINGS_OF_LOGOS = {"logo", "logo_dark", "background"}
_SECRET_FIELDS = ("alert_secret", "backup_passphrase")
_SECOND_QUESTION = "Subscribers' filters that use the saved value will stop working. To change it anyway, check the box and save again."
_APPROVED_STATES = (EditionState.APPROVED, EditionState.SENDING)
# The doctor's checks that concern each table.
_CHECKS = {
    "publication": ("base-url", "templates", "own-texts"),
    "branding": ("logo",),
    "consent": ("consent-wording",),
    "sender": ("postal-address", "provider", "signing", "bounces", "provider-events", "bounce-mailbox"),
    "limits": ("proxies",),
    "alerts": ("staff",),
    "heartbeats": ("heartbeats",),
    "backup": ("backup-folder", "missing-backup", "backup"),
}


@dataclass(frozen=True, slots=True)
class ReadOnlySetting:
    """A setting that can't be changed on pages.

    `variable` is its environment variable. `is_set` is True if the environment sets it. If it's a
    secret, `value` only says whether it's set.
    """

    title: str
    variable: str
    value: str
    is_set: bool
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A change to a table, as recorded in the audit log.

    `before` and `after` map keys to values.
    """

    at: datetime
    actor: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SettingsView:
    """A settings table as shown on its page.

    Attributes:
        table: the name of the table.
        values: the table, or the list of sections.
        fingerprint: identifies the values; the form sends it back.
        file: the settings file, or empty if there's none and nothing can be changed.
        outside: settings that can't be changed on the page.
        findings: the doctor's findings about the table.
        changes: past changes, newest first.
        approved: editions that must be approved again if the sender changes.
        sending: editions that are currently being sent.
        guarded: settings that require confirmation to change.
        notified: who gets an email about such a change. In the sentence, "when" follows.
        locked: maps settings to the environment variables that set them. The key "" stands for the
            whole list.
        is_read_by_subscribers: True if a change counts as its author's text when an edition is
            approved.
    """

    table: str
    values: SettingsTable | Sequence[SettingsTable]
    fingerprint: str
    file: str
    outside: tuple[ReadOnlySetting, ...]
    findings: tuple[DoctorFinding, ...]
    changes: tuple[SettingChange, ...]
    approved: tuple[str, ...] = ()
    sending: tuple[str, ...] = ()
    guarded: frozenset[str] = frozenset()
    notified: str = ""
    locked: Mapping[str, str] = field(default_factory=dict)
    is_read_by_subscribers: bool = False


def view_settings(installation: Installation, actor: Actor, table: str, *, now: datetime) -> SettingsView:
    """Return one of `EDITABLE_TABLES` as its settings page shows it.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LOOK.check_role(installation, actor, table, now=now)
    settings = installation.settings
    values = getattr(settings.file, table)
    findings = drop_consequences(run_checks(ExaminedInstallation(installation, now), _CHECKS.get(table, ())))
    approved = _list_approved(installation) if table == "sender" else {}
    return SettingsView(
        table=table,
        values=values,
        fingerprint=fingerprint_values(values),
        file=str(settings.origin or ""),
        outside=tuple(_list_outside_settings(settings, table)),
        findings=tuple(replace(f, remedy=f.page_remedy or f.remedy) for f in findings if f.level != "ok"),
        changes=_list_changes(installation, table),
        approved=tuple(name for name, state in approved.items() if state is EditionState.APPROVED),
        sending=tuple(name for name, state in approved.items() if state is EditionState.SENDING),
        locked=_find_locked(settings, table),
        guarded=_find_guarded(values) if isinstance(values, BaseModel) else frozenset(),
        notified=find_guarded_notice_recipients(installation.database, actor.name).words,
        is_read_by_subscribers=table in SHOWN_TABLES,
    )


def fill_in_earlier_values(
    installation: Installation, table: str, values: SettingsTable, before: str
) -> SettingsTable | None:
    """Return a table with the values that it had before an earlier change.

    `before` is the time of the change (ISO 8601). Return None if there's no such change, or the
    table no longer allows these values. Values that the audit log stores only as a host aren't
    restored.
    """
    change = _find_change(installation, table, before)
    if change is None:
        return None
    fields = type(values).model_fields
    earlier = {n: v for n, v in change.before.items() if n in fields and SHOWN_BY_HOST not in fields[n].metadata}
    with suppress(ValidationError):
        return type(values).model_validate(values.model_dump() | earlier)
    return None


def _find_locked(settings: Settings, table: str) -> dict[str, str]:
    values = getattr(settings.file, table)
    names = type(values).model_fields if isinstance(values, BaseModel) else []
    paths: dict[str, SettingPath] = {name: (table, name) for name in names}
    paths = paths or {"": (table,)}
    variables = {name: find_overriding_variable(settings, path) for name, path in paths.items()}
    return {name: variable for name, variable in variables.items() if variable}


def _find_guarded(table: BaseModel) -> frozenset[str]:
    return frozenset(n for n in type(table).model_fields if find_guarded_area(type(table), n).needs_confirmation)


def change_settings(
    installation: Installation,
    actor: Actor,
    table: str,
    values: Mapping[str, Any],
    *,
    fingerprint: str,
    sure: Container[str] = (),
    now: datetime,
) -> bool:
    """Write new values to a table of the settings file, and return True if anything changed.

    `sure` has those settings marked `ASKED_TWICE` whose change the actor confirmed.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ConfirmationRequiredError: a change weakens a control, and the actor confirmed who they are
            too long ago.
        SettingsValueError: a value is invalid. `problems` lists the invalid values.
        SettingsConflictError: someone else changed the table at the same time.
        SettingsError: there's no settings file, it can't be written, or an edition is being sent
            from this sender.
    """
    CHANGE.check_role(installation, actor, table, now=now)
    # Check the values before the action begins, so that an invalid form doesn't leave an audit row.
    new_file = update_table(installation.settings.file, table, values)
    _check_against_installation(installation, table, values)
    _check_marks(getattr(installation.settings.file, table), getattr(new_file, table), values, sure)
    if table == "branding":
        _refuse_invisible_logos(installation, new_file.branding, values)
    _refuse_silence(installation.settings, new_file)
    # Write the file within the transaction, so that a crash can't separate the change from its
    # audit row and email for long.
    with CHANGE.transaction(installation, actor, table, now=now) as (_, draft):
        settings = _require_file(installation)
        if table == "sender":
            _refuse_while_sending(installation)

        def permit(before: BaseModel, after: BaseModel) -> None:
            change = describe_change(before, after, values)
            draft.changed, draft.detail = bool(change["after"]), dict(change)
            require_confirmation_for_settings(draft, table, before, after, values)

        file_edits.change_table(settings, table, values, fingerprint=fingerprint, permit=permit)
        return draft.changed


def _refuse_silence(settings: Settings, new_file: SettingsFileContent) -> None:
    """Raise `SettingsValueError` if a change would prevent all email, including the one about it."""
    with suppress(ProviderSettingsError):  # email already can't be sent
        if not provider_in_use(settings).leaves_machine(settings):
            return
        before = list_sender_problems(settings)
        after = list_sender_problems(settings.model_copy(update={"file": new_file}))
        if problems := [problem for problem in after if problem not in before]:
            raise SettingsValueError({"": f"With these settings, email couldn't be sent: {'; '.join(problems)}"})


def require_confirmation_for_settings(
    draft: PendingAuditEntry, table: str, before: BaseModel, after: BaseModel, names: Iterable[str]
) -> None:
    """Require confirmation if a changed setting is declared to need it.

    Raises:
        ConfirmationRequiredError: a change weakens a control, and the actor confirmed who they are
            too long ago.
    """
    areas = {name: find_guarded_area(type(after), name) for name in find_changed_values(before, after, names)}
    model = type(after)
    guarded = [model.model_fields[name].title or name for name, area in areas.items() if area.needs_confirmation]
    draft.undo_path = f"/admin/settings/{table}?{urlencode({'before': draft.now.isoformat()})}"
    affected = {*areas.values()}
    if _changes_standard_consent_text(draft.installation.settings, before, after):
        affected.add(GuardedArea.CONSENT_TEXT)
    draft.guard(affected, f"changed settings under {model.model_config.get('title')}: {', '.join(guarded)}")


def _changes_standard_consent_text(settings: Settings, before: BaseModel, after: BaseModel) -> bool:
    """Return True if a changed schedule makes the consent text say another frequency."""
    schedules = [table for table in (before, after) if isinstance(table, ScheduleSettings)]
    texts = {MailFrequency(tuple(sorted(schedule.send_rule.days))).consent for schedule in schedules}
    return len(texts) > 1 and not settings.file.consent.text


def _check_against_installation(installation: Installation, table: str, values: Mapping[str, Any]) -> None:
    """Check values that the table's model can't check, such as those that depend on files."""
    settings = installation.settings
    if table == "publication" and "language" in values:
        _check_language(installation, values["language"])
    if table == "schedule":
        _check_visits(values.get("collect", ()))
    if table == "alerts" and (problems := explain_unusable_channels(settings, values)):
        raise SettingsValueError(problems)
    folder = values.get("folder", "")
    if table == "backup" and folder and not Path(folder).is_absolute():
        raise SettingsValueError({"folder": f"{folder!r} isn't an absolute path. Use one such as /backups/digest."})


def _check_marks(before: BaseModel, after: BaseModel, names: Iterable[str], sure: Container[str]) -> None:
    """Raise `SettingsValueError` if a change is one that the settings' marks don't allow.

    Settings marked `NeverEmptied` can't be emptied, and changes to those marked `ASKED_TWICE` must
    be confirmed.
    """
    problems = dict[str, str]()
    for name in find_changed_values(before, after, names):
        for mark in type(after).model_fields[name].metadata:
            if mark == ASKED_TWICE and name not in sure:
                problems[name] = _SECOND_QUESTION
            elif isinstance(mark, NeverEmptied) and not getattr(after, name).strip():
                problems[name] = mark.reason
    if problems:
        raise SettingsValueError(problems)


def _refuse_invisible_logos(installation: Installation, branding: BrandingSettings, names: Iterable[str]) -> None:
    """Raise `SettingsValueError` if a change makes a logo invisible on its background.

    If a logo is only hard to see, the doctor warns about it.
    """
    if not _SETTINGS_OF_LOGOS & find_changed_values(installation.settings.file.branding, branding, names).keys():
        return
    with installation.read() as session:
        problems = [problem for problem in find_logo_problems(session, branding) if problem.level == "error"]
    if problems:
        raise SettingsValueError({problem.setting: f"{problem.message} {problem.advice}" for problem in problems})


def _check_visits(rules: Sequence[str]) -> None:
    """Raise `SettingsValueError` if sources would be visited too often.

    The settings file itself isn't limited.
    """
    periods = [(rule, parse_schedule_rule(rule).period) for rule in rules]
    if often := next((rule for rule, period in periods if period and period < MIN_VISIT_PERIOD), ""):
        raise SettingsValueError({"collect": f"{often!r} is too often for other people's sites. Use 5m or more."})


def _check_language(installation: Installation, code: str) -> None:
    """Raise `SettingsValueError` if a language has no catalog."""
    try:
        load_language(code, installation.settings.templates)
    except CatalogError as exc:
        raise SettingsValueError({"language": str(exc)}) from exc


def list_named_languages(settings: Settings) -> list[tuple[str, str]]:
    """Return the languages available to subscribers, as (tag, English name)."""
    return [(code, name_language(code)) for code in list_languages(settings.templates)]


def change_sections(
    installation: Installation, actor: Actor, rows: Sequence[Mapping[str, Any]], *, fingerprint: str, now: datetime
) -> bool:
    """Write the sections of an edition in order, and return True if anything changed.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ConfirmationRequiredError: a title is new, and the actor confirmed who they are too long
            ago.
        SettingsValueError: a value is invalid; `problems` has its position and field, such as
            `2.title`.
        SettingsConflictError: someone else changed the sections at the same time.
        SettingsError: there's no settings file, or it can't be written.
    """
    CHANGE.check_role(installation, actor, "sections", now=now)
    replace_section_list(installation.settings.file, rows)
    with CHANGE.transaction(installation, actor, "sections", now=now) as (_, draft):

        def permit(before: Sequence[SectionSettings], after: Sequence[SectionSettings]) -> None:
            draft.changed = after != before
            draft.detail = {"before": _describe_sections(before), "after": _describe_sections(after)}
            if {section.title for section in after} - {section.title for section in before}:
                draft.guard([find_guarded_area(SectionSettings, "title")], "changed settings under Sections: Title")

        file_edits.replace_sections(_require_file(installation), rows, fingerprint=fingerprint, permit=permit)
        return draft.changed


def _describe_sections(sections: Sequence[SectionSettings]) -> dict[str, Any]:
    """Return each section's position, counted from 1, and its non-default values, by section key."""
    return {
        section.key: {"place": place} | section.model_dump(mode="json", exclude_defaults=True, exclude={"key"})
        for place, section in enumerate(sections, 1)
    }


def _require_file(installation: Installation) -> Settings:
    settings = installation.settings
    if settings.origin is None:
        raise SettingsError(
            "You can't save settings because there's no settings file. Create one with 'digest init'. Then restart the server in the file's folder or with DIGEST_SETTINGS set to the file's path."
        )
    return settings


def _refuse_while_sending(installation: Installation) -> None:
    going_out = [name for name, state in _list_approved(installation).items() if state is EditionState.SENDING]
    if going_out:
        raise SettingsError(
            f"The sender can't be changed while an edition is being sent ({join_words(going_out)}). Try again after the "
            "edition is sent, or cancel it first."
        )


def _list_approved(installation: Installation) -> dict[str, EditionState]:
    query = select(Edition.name, Edition.state).where(Edition.state.in_(_APPROVED_STATES)).order_by(Edition.release_at)
    with installation.read() as session:
        return {row.name: row.state for row in session.execute(query)}


def _list_changes(installation: Installation, table: str) -> tuple[SettingChange, ...]:
    newest = _select_changes(table).order_by(AuditEntry.id.desc()).limit(LISTED_CHANGES)
    with installation.read() as session:
        return tuple(change for row in session.scalars(newest) if (change := _read_change(row)))


def _find_change(installation: Installation, table: str, moment: str) -> SettingChange | None:
    """Return the change made at a given time, however old it is.

    The emailed link must work for as long as the log has the change.
    """
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    with installation.read() as session:
        row = session.scalar(_select_changes(table).where(AuditEntry.at == at).limit(1))
        return _read_change(row) if row is not None else None


def _select_changes(table: str) -> Select[AuditEntry]:
    return select(AuditEntry).where(AuditEntry.act == CHANGE.name, AuditEntry.subject == table)


def _read_change(row: AuditEntry) -> SettingChange | None:
    """Return the change in an audit row.

    Return None if the row was tampered with, which verifying the log reports.
    """
    detail = audit_log.read_entry_detail(row) or {}
    before, after = detail.get("before"), detail.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return None
    return SettingChange(row.at, row.actor, before, after)


def _list_outside_settings(settings: Settings, table: str) -> list[ReadOnlySetting]:
    """Return the environment settings that are related to a table.

    Passwords in URLs are left out.
    """
    mail = urlsplit(settings.mail_url.get_secret_value())
    signed_for = settings.file.relay.dkim_domain or settings.dkim_domain
    values = {
        "publication": [
            ("Site URL", "base_url", settings.link_base),
            ("Custom templates", "templates", str(settings.templates or "none")),
        ],
        "sender": [
            ("Email provider", "mail_url", ", ".join(part for part in (mail.scheme, mail.hostname) if part)),
            ("Email is signed for", "dkim_domain", signed_for or "not signed"),
        ],
        "alerts": [("Alert signing secret", "alert_secret", "set" if settings.alert_secret else "not set")],
        "backup": [
            (
                "Backup passphrase",
                "backup_passphrase",
                "set" if settings.backup_passphrase else "not set (no backups are made)",
            )
        ],
    }
    return [
        ReadOnlySetting(
            title, f"DIGEST_{field.upper()}", value, field in settings.model_fields_set, field in _SECRET_FIELDS
        )
        for title, field, value in values.get(table, ())
    ]


@dataclass(frozen=True, slots=True)
class SendTimeComparison:
    """An edition's send time now and under another schedule.

    Either is None if there's no such edition.
    """

    now: PlannedRelease | None
    then: PlannedRelease | None

    @property
    def is_changed(self) -> bool:
        """True if the send times differ, or only one of them is skipped."""
        return _outcome(self.now) != _outcome(self.then)


def _outcome(release: PlannedRelease | None) -> tuple[datetime, bool] | None:
    return (release.release_at, release.is_skipped) if release else None


def preview_schedule(
    installation: Installation, actor: Actor, values: Mapping[str, Any], *, now: datetime
) -> list[SendTimeComparison]:
    """Compare the next send times with those under a changed schedule.

    Nothing is saved.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SettingsValueError: a value is invalid.
    """
    LOOK.check_role(installation, actor, "schedule", now=now)
    file = installation.settings.file
    schedule: ScheduleSettings = update_table(file, "schedule", values).schedule
    if schedule.draft_rule.period or schedule.send_rule.period:
        raise SettingsValueError(
            {"release": "The calendar works only if editions are sent on set days. Change the schedule first."}
        )
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
    return compare_send_times_of_schedules(calendar, schedule.send_rule, now)


@dataclass(frozen=True, slots=True)
class EarlyDraft:
    """The times at which a schedule drafts and sends the next edition.

    They're at least `EARLY_DRAFT` apart.
    """

    drafted_at: datetime
    send_at: datetime


def find_early_draft(installation: Installation, values: Mapping[str, Any], *, now: datetime) -> EarlyDraft | None:
    """Return the times of the next draft and send if these values draft an edition long before sending it.

    Return None if the schedule doesn't.

    Raises:
        SettingsValueError: a value is invalid.
    """
    file = update_table(installation.settings.file, "schedule", values)
    if file.schedule.send_rule.period:
        return None
    with installation.read() as session:
        calendar = calendar_store.load_calendar(session, file)
    releases = calendar.next_releases(now, PREVIEWED_RELEASES)
    release = next((release for release in releases if not release.is_skipped and not release.change), None)
    drafts = plan_steps(calendar, release, StepRules(file.schedule.draft_rule)).drafts if release else ()
    if release is None or not drafts or release.release_at - drafts[-1] < EARLY_DRAFT:
        return None
    return EarlyDraft(drafts[-1], release.release_at)


def compare_send_times_of_schedules(
    calendar: ReleaseCalendar, rule: ScheduleRule, now: datetime
) -> list[SendTimeComparison]:
    """Pair the next send times of a calendar with those under another rule.

    They're paired by week in the publication's time zone.
    """
    changed = replace(calendar, rule=rule)
    weeks: dict[tuple[int, int], tuple[list[PlannedRelease], list[PlannedRelease]]] = {}
    for side, releases in enumerate(each.next_releases(now, PREVIEWED_RELEASES) for each in (calendar, changed)):
        for release in releases:
            year, week, _ = release.release_at.astimezone(calendar.zone).isocalendar()
            weeks.setdefault((year, week), ([], []))[side].append(release)
    pairs = [
        SendTimeComparison(before, after) for _, sides in sorted(weeks.items()) for before, after in zip_longest(*sides)
    ]
    return pairs[:PREVIEWED_RELEASES]
