"""Settings pages for admins: one page per table, with the author and previous values of each change."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from flask import Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.alerts import alert_notifications
from digest.app.alerts.alert_notifications import AlertTestError
from digest.app.alerts.channels import list_enabled_channels, load_alert_channels
from digest.app.settings import brand_images, setting_changes
from digest.app.settings.brand_images import BrandImageRefusedError
from digest.app.settings.setting_changes import EDITABLE_TABLES, EarlyDraft, SendTimeComparison
from digest.app.subscribers import consent_texts
from digest.app.subscribers.subscriber_preferences import list_offered_preferences
from digest.app.upkeep.audit_topics import list_value_changes
from digest.app.upkeep.background_backups import BackupRunningError
from digest.backups.archive import BackupError
from digest.installation.action_words import name_actor
from digest.settings import (
    SECTION_FIELD_TITLES,
    ConsentSettings,
    ScheduleSettings,
    SectionSettings,
    Settings,
    SettingsError,
)
from digest.settings.file_edits import SettingsConflictError
from digest.settings.misspelled_names import find_table
from digest.settings.table_values import SettingsValueError
from digest.settings.values import SettingsTable
from digest.web.admin.blueprint import admin_pages, get_installation_actor_and_time, refresh_page
from digest.web.admin.settings import setting_fields
from digest.web.admin.settings.setting_fields import NEW_SECTION, SectionRow
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_staff
from subscribers.errors import ApplicationError
from subscribers.pages.preferences_form import list_offered_zones
from subscribers.subscriber_language import ENGLISH

# The seconds between reloads of the page while a backup is running. No script is needed.
REFRESH_SECONDS = 1
_Form = Mapping[str, str]
_Problems = Mapping[str, str]  # sentences by field name
_TABLES = {name: find_table((name,)) for name in EDITABLE_TABLES}
_TITLES = {name: table.model_config["title"] for name, table in _TABLES.items() if table}


@admin_pages.get("/settings")
def redirect_to_first_table() -> ResponseReturnValue:
    """Redirect to the first settings table."""
    return redirect(url_for("admin.show_settings", table=EDITABLE_TABLES[0]), 303)


@admin_pages.get("/settings/sign-up-form")
def show_signup_embed_code() -> str:
    """Show the sign-up form, the code for embedding it, and the topics it offers."""
    settings = get_app_state().settings
    return render_template(
        "web/admin/site/signup_form.html",
        titles=_TITLES,
        signup_url=f"{settings.link_base}/subscribe",
        offered=list_offered_preferences(settings),
    )


@admin_pages.get("/settings/<table>")
def show_settings(table: str) -> ResponseReturnValue:
    """Show a settings table as a form.

    It's reloaded while a backup is running.
    """
    _require_table(table)
    return _settings_page(table)


@admin_pages.post("/settings/<table>")
def change_settings(table: str) -> ResponseReturnValue:
    """Save a table, or preview a changed schedule."""
    _require_table(table)
    form = request.form
    try:
        if table == "schedule" and form.get("act") == "preview":
            return _settings_page(table, form=form, pairs=_preview_schedule(form))
        changed = _save_sections(form) if table == "sections" else _save_table(table, form)
    except SettingsValueError as exc:
        return _settings_page(table, form=form, problems=exc.problems), 400
    except SettingsConflictError as exc:
        return _overtaken_page(table, form, exc), 409
    except SettingsError as exc:
        return _settings_page(table, form=form, refusal=exc), 409
    return _lead_to_saved(table, changed=changed)


def _preview_schedule(form: Mapping[str, str]) -> list[SendTimeComparison]:
    installation, actor, now = get_installation_actor_and_time()
    values = setting_fields.read_form_values(installation.settings.file.schedule, form)
    return setting_changes.preview_schedule(installation, actor, values, now=now)


def _save_sections(form: Mapping[str, str]) -> bool:
    installation, actor, now = get_installation_actor_and_time()
    rows, fingerprint = setting_fields.read_section_rows(form), form.get("fingerprint", "")
    return setting_changes.change_sections(installation, actor, rows, fingerprint=fingerprint, now=now)


def _save_table(table: str, form: Mapping[str, str]) -> bool:
    installation, actor, now = get_installation_actor_and_time()
    values = setting_fields.read_form_values(getattr(installation.settings.file, table), form)
    if table == "consent" and values.get("text") == installation.settings.mail_frequency.consent:
        values["text"] = ""  # so that it continues to follow the language and the schedule
    fingerprint, sure = form.get("fingerprint", ""), {name for name in values if form.get(f"{name}-sure")}
    return setting_changes.change_settings(
        installation, actor, table, values, fingerprint=fingerprint, sure=sure, now=now
    )


def _overtaken_page(table: str, form: Mapping[str, str], refusal: SettingsError) -> Response:
    """Show the input next to the values that someone else saved in the meantime."""
    if table == "sections":  # the input is by position in the list, and the list has changed
        return _settings_page(table, refusal=refusal)
    saved = _fill_in_standard_text(getattr(get_app_state().settings.file, table))
    problems = setting_fields.describe_saved_values(saved, form)
    return _settings_page(table, form=form, problems=problems, refusal=refusal)


def _fill_in_standard_text(values: SettingsTable) -> SettingsTable:
    """Return a table as its form shows it: with the standard consent text if there's no other."""
    if isinstance(values, ConsentSettings) and not values.text:
        return values.model_copy(update={"text": get_app_state().settings.mail_frequency.consent})
    return values


def _lead_to_saved(table: str, *, changed: bool) -> ResponseReturnValue:
    return redirect(url_for("admin.show_settings", table=table, saved="1" if changed else None), 303)


@admin_pages.post("/settings/branding/logos")
def replace_brand_images() -> ResponseReturnValue:
    """Store the uploaded logos and header image, and save their names in the settings."""
    installation, actor, now = get_installation_actor_and_time()
    files = {name: request.files.get(name) for name in ("logo", "logo_dark", "header")}
    chosen = {name: file for name, file in files.items() if file and file.filename}
    uploads = {name: (str(file.filename), file.read()) for name, file in chosen.items()}
    fingerprint = request.form.get("fingerprint", "")
    try:
        changed = brand_images.replace_brand_images(installation, actor, uploads, fingerprint=fingerprint, now=now)
    except BrandImageRefusedError as exc:
        return _settings_page("branding", refusal=exc), 400
    except SettingsError as exc:
        return _settings_page("branding", refusal=exc), 409
    return _lead_to_saved("branding", changed=changed)


@admin_pages.post("/settings/alerts/test")
def send_alert_test() -> ResponseReturnValue:
    """Send a test through a saved alert channel, and show the result."""
    installation, actor, now = get_installation_actor_and_time()
    channel = request.form.get("channel", "")
    try:
        alert_notifications.send_test_alert(installation, actor, channel, now=now)
    except AlertTestError as exc:
        return _settings_page("alerts", refusal=exc), 409
    return redirect(url_for("admin.show_settings", table="alerts", tested=channel), 303)


@admin_pages.post("/settings/backup/now")
def back_up_now() -> ResponseReturnValue:
    """Start a backup, and redirect to the page with its progress."""
    installation, actor, now = get_installation_actor_and_time()
    passphrase = request.form.get("passphrase", "")
    try:
        with suppress(BackupRunningError):  # the page shows the running backup
            get_app_state().backups.begin(installation, actor, passphrase=passphrase, now=now)
    except BackupError as exc:
        return _settings_page("backup", refusal=exc), 409
    return redirect(url_for("admin.show_settings", table="backup"), 303)


def _require_table(table: str) -> None:
    if table not in EDITABLE_TABLES:
        abort(404, "These settings have no page. Edit them in digest.toml.")


def _settings_page(
    table: str,
    *,
    form: Mapping[str, str] | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
    refusal: ApplicationError | None = None,
    pairs: Sequence[SendTimeComparison] = (),
) -> Response:
    installation, actor, now = get_installation_actor_and_time()
    view = setting_changes.view_settings(installation, actor, table, now=now)
    names = staff.read_display_names(installation)
    values: Any = view.values
    before = request.args.get("before", "")
    fills = bool(before) and form is None and isinstance(values, SettingsTable)
    earlier = setting_changes.fill_in_earlier_values(installation, table, values, before) if fills else None
    find_parts: dict[str, Callable[[], dict[str, Any]]] = {
        "backup": lambda: {"backups": get_app_state().backups.view(installation, actor, now=now)},
        "publication": lambda: {"offered_values": _list_offered_values(installation.settings)},
        "branding": lambda: {
            "logo": installation.settings.logo,
            "header": installation.settings.header,
            "publication_name": installation.settings.file.publication.name,
        },
        "schedule": lambda: {
            "pairs": pairs or ([] if problems else _current_pairs(values)),
            "early_draft": None if problems else _find_early_draft(form if pairs else None),
        },
        "sections": lambda: {"rows": _show_section_rows(values, form, problems)},
        "consent": lambda: {"wordings": consent_texts.view_consent_texts(installation, actor, now=now)},
    }
    parts = _NO_PARTS | (find_parts[table]() if table in find_parts else {})
    fields = (
        []
        if parts["rows"]
        else setting_fields.build_displayed_fields(_fill_in_standard_text(earlier or values), form, problems)
    )
    renews = bool(parts["backups"] and parts["backups"].progress)
    page = render_template(
        "web/admin/settings.html",
        view=view,
        titles=_TITLES,
        fields=fields,
        section_titles=SECTION_FIELD_TITLES,
        section_kinds=setting_fields.SECTION_KINDS,
        weekdays=setting_fields.WEEKDAYS,
        problems=problems,
        restores=earlier is not None if fills else None,
        refusal=refusal,
        tested=load_alert_channels().get(request.args.get("tested", "")),
        channels=list_enabled_channels(installation.settings) if table == "alerts" else [],
        renews=renews,
        is_preview=form is not None and bool(pairs),
        zone=get_app_state().zone,
        is_fresh=current_staff().is_fresh(now),
        has_passphrase=bool(installation.settings.backup_passphrase_text),
        changes=[
            (change, name_actor(change.actor, names), list_value_changes(change.before, change.after, table))
            for change in view.changes
        ],
        **parts,
    )
    return refresh_page(page, every_seconds=REFRESH_SECONDS if renews else 0)


_PARTS = ("backups", "early_draft", "header", "logo", "offered_values", "pairs", "publication_name", "rows", "wordings")
_NO_PARTS: dict[str, Any] = dict.fromkeys(_PARTS)


def _list_offered_values(settings: Settings) -> dict[str, list[tuple[str, str]]]:
    """Return the values, each with its label, that a field's search offers, by field name."""
    zones = sorted(list_offered_zones())
    return {
        "language": setting_changes.list_named_languages(settings),
        "timezone": [(name, ENGLISH.zone_label(name)) for name in zones],
    }


def _find_early_draft(form: _Form | None) -> EarlyDraft | None:
    installation, _, now = get_installation_actor_and_time()
    values = setting_fields.read_form_values(installation.settings.file.schedule, form or {})
    return setting_changes.find_early_draft(installation, values, now=now)


def _current_pairs(schedule: ScheduleSettings) -> list[SendTimeComparison]:
    """Return the next send times under the current schedule, or none if editions are sent at intervals."""
    return [] if schedule.send_rule.period else _preview_schedule({})


def _show_section_rows(
    sections: Sequence[SectionSettings], form: _Form | None, problems: _Problems
) -> list[tuple[SectionRow, bool, dict[str, str]]]:
    """Return the sections for the form, whether each is new, and its problems by field.

    An empty new section is last. Problems are keyed by the position that a section would have after saving.
    """
    section_rows = [setting_fields.make_section_form_row(section, place) for place, section in enumerate(sections, 1)]
    section_rows.append(NEW_SECTION.model_copy(update={"place": str(len(section_rows) + 1)}))
    read_row = partial(setting_fields.read_section_row, form or {})
    typed = [read_row(number, row) for number, row in enumerate(section_rows)]
    order = [row["key"] for row in setting_fields.read_section_rows(form or {})]
    rows = [(row, False, _find_row_problems(order, row.key, problems)) for row in typed]
    return [*rows[:-1], (typed[-1], True, rows[-1][2])]


def _find_row_problems(order: Sequence[str], key: str, problems: _Problems) -> dict[str, str]:
    if key not in order:
        return {}
    parted = {field.partition("."): text for field, text in problems.items()}
    row_place = str(order.index(key))
    return {field: text for (place, _, field), text in parted.items() if place == row_place}
