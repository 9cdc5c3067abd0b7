"""The fields of the settings pages: how a value is shown in a form, and read from it. What is wrong the settings themselves say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from digest.settings import SectionKindName
from digest.timetable import ScheduleRule, parse_schedule_rule

FieldKind = Literal["text", "lines", "number", "numbers", "choice", "rule", "rules", "amounts", "colour"]
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVERY_DAY = "daily"
MAX_SECTIONS = 30
SECTION_KINDS: tuple[str, ...] = get_args(SectionKindName)


@dataclass(frozen=True, slots=True)
class SettingField:
    """A field of a form: the key that it sets, how it is asked for, and a hint. `choices` are values with their words."""

    name: str
    label: str
    kind: FieldKind = "text"
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()


FORM_FIELDS: Mapping[str, tuple[SettingField, ...]] = {
    "publication": (
        SettingField("name", "Name"),
        SettingField("tagline", "One line about it", hint="For the archive and its feed."),
        SettingField("site", "Web site", hint="Linked from mail and pages."),
        SettingField("about", "One sentence in the foot of the mail", "lines"),
        SettingField("editor", "Signs the intro", hint="Leave it empty for no signature."),
        SettingField("intro", "Intro that a new draft starts with", "lines", "At most 60 words."),
        SettingField(
            "language", "Language", hint="What readers are written to in: en, fr, or one that you have a catalogue for."
        ),
        SettingField(
            "timezone", "Time zone", hint="Every day and hour of the desk and of these settings is meant in it."
        ),
        SettingField("first_number", "Number of the first edition made here", "number"),
    ),
    "look": (
        SettingField("accent", "Links and buttons", "colour"),
        SettingField("accent_dark", "Links and buttons on dark screens", "colour"),
        SettingField("label", "Topics, ranks and deadlines", "colour", "Another hue than that of links."),
        SettingField("label_dark", "Topics, ranks and deadlines on dark screens", "colour"),
        SettingField("tint", "Ground of panels and dates", "colour"),
        SettingField("headings", "Headlines", "choice", choices=(("serif", "With serifs"), ("sans", "Without serifs"))),
        SettingField("bar", "Line on top", "number", "Pixels, at most 12; 0: none."),
        SettingField(
            "bar_colour",
            "Colour of that line",
            "choice",
            choices=(("ink", "That of the text"), ("accent", "That of links")),
        ),
        SettingField(
            "logo", "Logo", hint="Upload it on this page, or name one that is kept. Empty: the publication's name."
        ),
        SettingField("logo_dark", "Logo on dark screens", hint="Set both logos, or neither."),
    ),
    "wordings": (
        SettingField(
            "consent",
            "What readers agree to",
            "lines",
            "{name} stands for the name of the publication. Empty: the shipped sentence.",
        ),
    ),
    "schedule": (
        SettingField("release", "Goes out", "rule"),
        SettingField("draft", "Draft is made", "rule"),
        SettingField("deadline_hours", "Approve by", "number", "Hours before the usual time of release."),
        SettingField(
            "reminder_hours",
            "Remind editors",
            "numbers",
            "Hours before that, if it is not approved yet; separate several with commas. Leave it empty for none.",
        ),
        SettingField(
            "at_deadline",
            "If it is not approved by then",
            "choice",
            choices=(
                ("wait", "Wait until somebody approves"),
                ("skip", "Skip the week; stories wait for the next"),
                ("send-last-approved", "Send the last approved version, if there is one; else wait"),
            ),
        ),
        SettingField(
            "last_look_minutes", "Look at every article again", "number", "Minutes before the release; 0: never."
        ),
        SettingField(
            "at_gone_article",
            "If visitors can't read an article then",
            "choice",
            choices=(("stop", "Stop until somebody decides"), ("send", "Send all the same, and tell the editors")),
        ),
        SettingField(
            "collect", "Sources are visited", "rules", "One time a line: daily 05:00, mon,thu 17:30, or every 30m."
        ),
    ),
    "sender": (
        SettingField("name", "Name", hint="As it stands in From."),
        SettingField("address", "Address", hint="As it stands in From."),
        SettingField("reply_to", "Answers go to"),
        SettingField("postal_address", "Postal address", "lines", "It stands in every mail."),
        SettingField("list_id", "List-Id", hint="Never change it: the filters of readers go by it."),
        SettingField("bounce_domain", "Bounces come back to", hint="A domain; empty: to the address above."),
    ),
    "limits": (
        SettingField("send_per_second", "Mails a second", "number", "0: as fast as the server takes them."),
        SettingField("send_per_hour", "Mails in any 60 minutes", "number", "0: as fast as the server takes them."),
        SettingField(
            "warm_up", "A new sender's first days", "numbers", "Most mails on the first day, the second …: 500, 1000."
        ),
        SettingField("domains_per_hour", "Mails an hour to one domain", "amounts", "One a line: gmail.com = 6000"),
        SettingField("signups_per_network", "Sign-ups an hour from one network", "number"),
        SettingField("signups_per_domain", "Sign-ups in 7 days for one small domain", "number"),
        SettingField(
            "signups_first", "First sign-ups from wide networks, per hour", "number", "More wait for up to 24 hours."
        ),
        SettingField("signups_further", "All other sign-ups, per hour", "number", "More wait for up to 24 hours."),
        SettingField("signups_alarm", "Sign-ups an hour that raise the alarm", "number"),
        SettingField(
            "signups_waiting", "Sign-ups in the queue", "number", "When it's full, the largest network loses one."
        ),
        SettingField("contact_per_network", "Messages to the editors an hour from one network", "number"),
        SettingField(
            "proxies", "Proxies before the pages", "number", "How many entries of X-Forwarded-For can be trusted."
        ),
    ),
    "alerts": (
        SettingField(
            "mail",
            "Who is told by mail",
            "choice",
            "Only those who have proven their address.",
            choices=(("admins", "Admins"), ("staff", "All of the staff"), ("off", "Nobody")),
        ),
        SettingField("webhook", "Posted to", hint="An https address; leave it empty for none."),
    ),
    "backup": (
        SettingField(
            "folder",
            "Folder",
            hint="On this server, a path from the root; best another disk. Leave it empty to make none.",
        ),
        SettingField("at", "A backup is made", "rules", "One time a line: daily 02:30, or mon,thu 17:30."),
        SettingField("daily", "Daily backups to keep", "number"),
        SettingField("weekly", "Weekly backups to keep", "number"),
        SettingField(
            "monthly",
            "Monthly backups to keep",
            "number",
            "They hold addresses longer than 30 days after their owners left.",
        ),
    ),
    "approval": (
        SettingField(
            "approvers",
            "Approvers needed",
            "choice",
            "That many people other than its author approve each text, link, and image. An only editor can approve alone.",
            choices=(("1", "One"), ("2", "Two")),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field with what stands in it: `day` and `clock` where it is a time of the week, and what is wrong with it."""

    field: SettingField
    text: str
    day: str = ""
    clock: str = ""
    problem: str = ""


def show_fields(
    table: str, values: Any, form: Mapping[str, str] | None, problems: Mapping[str, str]
) -> list[ShownField]:
    """Return the fields of a table's form, filled from what was typed, or else from the values."""
    shown = []
    for field in FORM_FIELDS[table]:
        text = write_value(field, getattr(values, field.name))
        day, clock = split_rule(text) if field.kind == "rule" else ("", "")
        if form is not None and day:
            day, clock = form.get(f"{field.name}-day", day), form.get(f"{field.name}-clock", clock)
        elif form is not None:
            text = form.get(field.name, text)
        shown.append(ShownField(field, text, day, clock, problems.get(field.name, "")))
    return shown


def describe_saved(table: str, values: Any, form: Mapping[str, str]) -> dict[str, str]:
    """Say of each field what is saved, where something else was typed: for a form that came after another one."""
    typed = read_values(table, form)
    saved = {field.name: write_value(field, getattr(values, field.name)) for field in FORM_FIELDS[table]}
    return {
        field.name: f"Saved meanwhile: {saved[field.name] or 'nothing'}"
        for field in FORM_FIELDS[table]
        if field.name in typed and typed[field.name] != _read_value(field, saved[field.name])
    }


def write_value(field: SettingField, value: Any) -> str:
    """Write a value as its field shows it."""
    if field.kind == "rules":
        return "\n".join(value)
    if field.kind == "numbers":
        return ", ".join(f"{number:g}" for number in value)
    if field.kind == "amounts":
        return "\n".join(f"{name} = {amount}" for name, amount in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_values(table: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Read the values of a table's form; a field that the form lacks is left out."""
    values: dict[str, Any] = {}
    for field in FORM_FIELDS[table]:
        if f"{field.name}-day" in form:
            values[field.name] = f"{form[f'{field.name}-day']} {form.get(f'{field.name}-clock', '')}"
        elif field.name in form:
            values[field.name] = _read_value(field, form[field.name].replace("\r\n", "\n").strip())
    return values


def _read_value(field: SettingField, text: str) -> Any:
    if field.kind == "rules":
        return [line.strip() for line in text.split("\n") if line.strip()]
    if field.kind == "numbers":
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.kind == "amounts":
        pairs = (line.partition("=") for line in text.split("\n") if line.strip())
        return {name.strip().strip('"'): amount.strip() for name, _, amount in pairs}
    if field.name == "approvers" and text.isdecimal():
        return int(text)
    return text


def split_rule(text: str) -> tuple[str, str]:
    """Return day (`fri`, `daily`) and clock time of a rule; both empty where it names several days or a period."""
    rule: ScheduleRule = parse_schedule_rule(text)
    if rule.period or len(rule.days) not in {1, len(WEEKDAYS)}:
        return "", ""
    day = EVERY_DAY if len(rule.days) > 1 else WEEKDAYS[min(rule.days)][:3].lower()
    return day, f"{rule.at:%H:%M}"


def read_section_rows(form: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the sections of their form in the wished order, without those that are left out and an empty new one."""
    rows: list[tuple[float, int, dict[str, Any]]] = []
    for number in range(MAX_SECTIONS):
        key = form.get(f"{number}.key", "").strip()
        values: dict[str, Any] = {
            name: form.get(f"{number}.{name}", "").strip() for name in ("title", "kind", "note", "most", "refill")
        }
        topics = [topic.strip() for topic in form.get(f"{number}.topics", "").split(",") if topic.strip()]
        # A new one with anything written into it is meant, and told that it lacks a key.
        is_meant = key or values["title"] or values["note"] or topics
        if not is_meant or form.get(f"{number}.out"):
            continue
        rows.append((_read_place(form.get(f"{number}.place", "")), number, {"key": key, "topics": topics} | values))
    return [values for _, _, values in sorted(rows, key=lambda row: row[:2])]


def _read_place(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 4 else float(MAX_SECTIONS)
