"""What `digest setup` asks: each question once, with what stands in the installation already as its answer."""

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from digest.settings import Settings, values
from digest.settings.loader import describe_value_error
from digest.settings.model import SettingsFile
from digest.timetable import parse_schedule_rule
from subscribers.address import read_address
from subscribers.errors import ApplicationError

_DRAFT_BEFORE_RELEASE = timedelta(hours=12, minutes=30)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EXAMPLE_DOMAIN = "example.org"


class SetupError(ApplicationError):
    """Setting up cannot go on; the message says what to answer or to do."""


def _check_email(text: str) -> str:
    if text.rpartition("@")[2].lower().endswith(_EXAMPLE_DOMAIN):
        raise ValueError("this is an example; write an address of your own domain")
    try:
        read_address(text)
    except ApplicationError:
        raise ValueError(f"{text!r} is no e-mail address") from None
    return text


def _check_line(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("it must not be empty")
    return text


def _check_secret(text: str) -> str:
    if any(character in "'\"\\" or not character.isprintable() for character in text):
        raise ValueError("it must be one line without quotes and backslashes")
    return text


def _check_base_url(text: str) -> str:
    parts = urlsplit(values.check_web_address(text))
    if parts.scheme != "https" and not values.leads_to_this_machine(text):
        raise ValueError("write an https address: one-click unsubscribing demands it (RFC 8058)")
    is_host = values.is_loopback(parts.hostname or "") or values.DOMAIN_PATTERN.fullmatch(parts.hostname or "")
    if parts.query or parts.fragment or parts.path.strip("/") or not is_host:
        raise ValueError("write the host alone, such as https://news.your.site")
    return text.rstrip("/")


def _check_database(text: str) -> str:
    if text != "sqlite" and not text.startswith("postgresql+psycopg://"):
        raise ValueError("write sqlite, or postgresql+psycopg://user:password@host/name")
    if problem := values.explain_database_in_clear(text):
        raise ValueError(problem)
    return _check_secret(text)


_Line = Annotated[str, AfterValidator(_check_line)]
_Email = Annotated[str, AfterValidator(_check_email)]
_Secret = Annotated[str, AfterValidator(_check_secret)]


class SetupAnswers(values.SettingsTable):
    """All that is asked. What does not go with the chosen way of mailing stays empty."""

    name: _Line
    tagline: _Line
    about: _Line
    site: Annotated[str, AfterValidator(values.check_web_address)]
    timezone: Annotated[str, AfterValidator(values.check_time_zone)]
    release: values.RuleText
    base_url: Annotated[str, AfterValidator(_check_base_url)]
    sender_address: _Email
    reply_to: _Email
    postal_address: _Line
    mail: Literal["outbox", "smtp", "sendgrid"]
    smtp_host: Annotated[str, AfterValidator(str.strip)] = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_user: _Secret = ""
    smtp_password: _Secret = ""
    sendgrid_api_key: _Secret = ""
    database: Annotated[str, AfterValidator(_check_database)]
    readers: int = Field(default=0, ge=0)

    @property
    def host(self) -> str:
        """The host of the pages."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def sender_domain(self) -> str:
        """The domain that the mail comes from."""
        return self.sender_address.rpartition("@")[2].lower()

    @property
    def is_behind_proxy(self) -> bool:
        """Whether a web server of one's own stands before the pages: whatever is https is answered by one."""
        return self.base_url.startswith("https:")

    @property
    def mail_url(self) -> str:
        """The URL of `DIGEST_MAIL_URL`."""
        if self.mail != "smtp":
            return f"{self.mail}:"
        login = f"{quote(self.smtp_user, safe='')}:{quote(self.smtp_password, safe='')}@" if self.smtp_user else ""
        scheme = "smtps" if self.smtp_port == 465 else "smtp"
        in_clear = scheme == "smtp" and not self.smtp_user and values.is_loopback(self.smtp_host)
        return f"{scheme}://{login}{self.smtp_host}:{self.smtp_port}{'?starttls=off' if in_clear else ''}"

    @property
    def draft(self) -> str:
        """When an edition is drafted: half a day before the release, on the evening before where that is in the morning."""
        rule = parse_schedule_rule(self.release)
        if rule.period:
            return self.release
        # Any week without a change of clocks will do; its Monday is 2024-01-01.
        monday = datetime(2024, 1, 1, rule.at.hour, rule.at.minute, tzinfo=UTC)
        moments = [monday + timedelta(days=day) - _DRAFT_BEFORE_RELEASE for day in rule.days]
        days = sorted({moment.weekday() for moment in moments})
        names = "daily" if len(days) == len(_WEEKDAYS) else ",".join(_WEEKDAYS[day] for day in days)
        return f"{names} {moments[0].time():%H:%M}"


@dataclass(frozen=True, slots=True)
class SetupQuestion:
    """One question. `mail` names the way of mailing that it belongs to; empty: it is always asked. A secret is typed unseen."""

    key: str
    text: str
    mail: str = ""
    is_secret: bool = False

    def concerns(self, answers: Mapping[str, Any]) -> bool:
        """Whether it is to be asked, given the answers before it: a server without a user wants no password."""
        is_signed_in = self.key != "smtp_password" or answers.get("smtp_user") not in {"", "-"}
        return self.mail in {"", answers.get("mail")} and is_signed_in


QUESTIONS = (
    SetupQuestion("name", "The newsletter's name"),
    SetupQuestion("tagline", "What it is, in a few words"),
    SetupQuestion("about", "What it is about, in one sentence for new readers"),
    SetupQuestion("site", "The web address of the publication"),
    SetupQuestion("timezone", "The time zone that all its hours are meant in"),
    SetupQuestion("release", "When an edition goes out (fri 06:00, mon,thu 17:30, daily 06:00)"),
    SetupQuestion("base_url", "The web address that the pages of this installation get"),
    SetupQuestion("sender_address", "The address that the mail comes from"),
    SetupQuestion("reply_to", "The address that answers go to"),
    SetupQuestion("postal_address", "The postal address that stands in every mail (the law wants one)"),
    SetupQuestion("mail", "How mail leaves: outbox (into files), smtp or sendgrid"),
    SetupQuestion("smtp_host", "The mail server's host", "smtp"),
    SetupQuestion("smtp_port", "Its port (587, 465 for TLS from the start, 25 on this machine)", "smtp"),
    SetupQuestion("smtp_user", "The user to sign in as; - for none", "smtp"),
    SetupQuestion("smtp_password", "That user's password", "smtp", is_secret=True),
    SetupQuestion("sendgrid_api_key", "SendGrid's API key", "sendgrid", is_secret=True),
    SetupQuestion("database", "The database: sqlite, or postgresql+psycopg://user:password@host/name"),
    SetupQuestion("readers", "How many readers it begins with, imported ones too (0: it grows from nothing)"),
)


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    field = SetupAnswers.model_fields[key]
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation)


def check_answer(key: str, answer: object) -> Any:
    """Return one answer as it is kept.

    Raises:
        SetupError: it is none; the sentence says what to write.
    """
    answer = "" if key == "smtp_user" and answer == "-" else answer
    try:
        return _adapter(key).validate_python(answer)
    except ValidationError as exc:
        raise SetupError(f"{key}: {describe_value_error(dict(exc.errors(include_input=False)[0]))}") from None


def read_answers_file(file: Path) -> dict[str, Any]:
    """Return the answers of a TOML file, each checked.

    Raises:
        SetupError: it cannot be read, others can read a secret in it, or answers are wrong: all of them are named.
    """
    try:
        answers = tomllib.loads(file.read_text("utf-8"))
        mode = file.stat().st_mode
    except OSError as exc:
        raise SetupError(f"{file}: cannot be read ({exc.strerror}).") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{file}: not readable as TOML: {exc}") from exc
    secrets = [question.key for question in QUESTIONS if question.is_secret and answers.get(question.key)]
    if (secrets or "@" in str(answers.get("database", ""))) and stat.S_IMODE(mode) & 0o077:
        raise SetupError(f"{file}: it holds a secret and others can read it; run: chmod 600 {file}")
    unknown = [f"{key}: no such question" for key in answers if key not in SetupAnswers.model_fields]
    checked, problems = _check_answers(
        {key: answer for key, answer in answers.items() if key in SetupAnswers.model_fields}
    )
    if problems := [*unknown, *problems]:
        raise SetupError(f"{file}:\n" + "\n".join(f"  {problem}" for problem in problems))
    return checked


def _check_answers(answers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    checked, problems = {}, []
    for key, answer in answers.items():
        try:
            checked[key] = check_answer(key, answer)
        except SetupError as exc:
            problems.append(str(exc))
    return checked, problems


def complete_answers(given: Mapping[str, Any], present: Mapping[str, Any]) -> SetupAnswers:
    """Put given answers over those that stand in the installation.

    Raises:
        SetupError: some are missing or wrong: all of them are named.
    """
    answers = {**present, **given}
    checked, problems = _check_answers(answers)
    needed = [key for key, field in SetupAnswers.model_fields.items() if field.is_required()]
    needed += ["smtp_host"] if checked.get("mail") == "smtp" else []
    problems += [f"{key}: not answered" for key in needed if not answers.get(key)]
    if problems:
        raise SetupError("Nothing was written:\n" + "\n".join(f"  {problem}" for problem in problems))
    return SetupAnswers(**checked)


def read_present_answers(settings: Settings) -> dict[str, Any]:
    """Return the answers that stand in the settings: none for what is still an example."""
    file, shipped = settings.file, SettingsFile()
    present: dict[str, Any] = {
        "name": file.publication.name,
        "tagline": file.publication.tagline,
        "about": file.publication.about,
        "site": file.publication.site,
        "timezone": file.publication.timezone,
        "release": file.schedule.release,
        "postal_address": file.sender.postal_address,
        "database": settings.database_url or "sqlite",
    }
    if values.leads_to_this_machine(settings.base_url) is False:
        present["base_url"] = settings.base_url
    present["sender_address"] = _unless_shipped(file.sender.address, shipped.sender.address)
    present["reply_to"] = _unless_shipped(file.sender.reply_to, shipped.sender.reply_to)
    return {key: answer for key, answer in present.items() if answer} | _read_present_mail(settings)


def _unless_shipped(value: str, shipped: str) -> str:
    return "" if value == shipped else value


def _read_present_mail(settings: Settings) -> dict[str, Any]:
    url = urlsplit(settings.mail_url.get_secret_value())
    key = settings.sendgrid_api_key.get_secret_value() if settings.sendgrid_api_key else ""
    if url.scheme in {"smtp", "smtps"}:
        port = url.port or {"smtps": 465}.get(url.scheme, 587)
        login = {"smtp_user": unquote(url.username or ""), "smtp_password": unquote(url.password or "")}
        return {"mail": "smtp", "smtp_host": url.hostname or "", "smtp_port": port, **login}
    return {"mail": url.scheme if url.scheme in {"outbox", "sendgrid"} else "outbox"} | (
        {"sendgrid_api_key": key} if key else {}
    )


def propose_answer(key: str, answers: Mapping[str, Any]) -> Any:
    """Return what is proposed where nothing is known, from the answers before; None: nothing can be."""
    host = urlsplit(str(answers.get("site", ""))).hostname or ""
    domain = host.removeprefix("www.")
    sender_domain = str(answers.get("sender_address", "")).rpartition("@")[2]
    proposals: dict[str, Any] = {
        "base_url": f"https://news.{domain}" if domain else None,
        "sender_address": f"digest@news.{domain}" if domain else None,
        "reply_to": f"editors@{sender_domain}" if sender_domain else None,
        "smtp_port": 25 if values.is_loopback(str(answers.get("smtp_host", ""))) else 587,
        "smtp_user": "-",
        "readers": 0,
    }
    return proposals.get(key)
