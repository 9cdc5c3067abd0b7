"""The questions of `digest setup`, and the values of an existing installation as answers."""

import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, InstanceOf, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from digest.deliver.providers.kind import ProviderKind
from digest.deliver.providers.registry import is_provider_in_use, load_provider_kinds
from digest.deliver.providers.setup_questions import ProviderQuestionnaire, SecretMarker, check_environment_file_text
from digest.settings import Settings, values
from digest.settings.loader import describe_value_error
from digest.settings.model import SettingsFileContent
from digest.settings.operations import Heartbeat
from digest.timetable import parse_schedule_rule
from subscribers.address import read_address
from subscribers.english_text import join_words
from subscribers.errors import ApplicationError

_DRAFT_BEFORE_RELEASE = timedelta(hours=12, minutes=30)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EXAMPLE_DOMAINS = ("example.com", "example.net", "example.org")  # RFC 2606, section 3


class SetupError(ApplicationError):
    """Raised if setup can't continue.

    The message says what to answer or do.
    """


def _is_example(host: str) -> bool:
    return f".{host.lower()}".endswith(tuple(f".{domain}" for domain in _EXAMPLE_DOMAINS))


def _check_email(text: str) -> str:
    if _is_example(text.rpartition("@")[2]):
        raise ValueError("This is an example. Enter an address at your own domain.")
    try:
        read_address(text)
    except ApplicationError:
        raise ValueError(f"{text!r} isn't an email address.") from None
    return text


def _check_line(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("This can't be empty.")
    return text


def _check_base_url(text: str) -> str:
    parts = urlsplit(values.check_web_address(text))
    if parts.scheme != "https" and not values.is_local_url(text):
        raise ValueError("Use an https URL. One-click unsubscribing requires one (RFC 8058, section 3.1).")
    is_host = values.is_loopback(parts.hostname or "") or values.DOMAIN_PATTERN.fullmatch(parts.hostname or "")
    if parts.query or parts.fragment or parts.path.strip("/") or not is_host:
        raise ValueError("Enter only the scheme and host, such as https://news.your.site.")
    return text.rstrip("/")


def _check_database(text: str) -> str:
    if text != "sqlite" and not text.startswith("postgresql+psycopg://"):
        raise ValueError("Enter sqlite, or a URL like postgresql+psycopg://user:password@host/name.")
    if problem := values.explain_insecure_database(text):
        raise ValueError(problem)
    return check_environment_file_text(text)


def _check_provider(name: str) -> str:
    names = [kind.name for kind in load_provider_kinds()]
    if name not in names:
        raise ValueError(f"must be {join_words([repr(name) for name in names], conjunction='or')}")
    return name


def _ask_provider() -> str:
    return f"How to send email: {join_words([kind.questionnaire.words for kind in load_provider_kinds()], conjunction='or')}"


_Line = Annotated[str, AfterValidator(_check_line)]
_Email = Annotated[str, AfterValidator(_check_email)]


class SetupAnswers(values.SettingsTable):
    """The answers to all setup questions.

    Each field that has a title is a question, and so are the fields of the chosen provider.
    """

    name: _Line = Field(title="Newsletter name")
    tagline: _Line = Field(title="Description in a few words")
    about: _Line = Field(title="Description in one sentence, for new subscribers")
    site: Annotated[str, AfterValidator(values.check_web_address)] = Field(title="URL of the publication's website")
    timezone: Annotated[str, AfterValidator(values.check_time_zone)] = Field(title="Time zone for all times")
    release: values.RuleText = Field(title="When editions are sent (fri 06:00, mon,thu 17:30, daily 06:00)")
    base_url: Annotated[str, AfterValidator(_check_base_url)] = Field(title="Public URL of this installation's pages")
    sender_address: _Email = Field(title="Sender address")
    reply_to: _Email = Field(title="Reply-to address")
    postal_address: _Line = Field(title="Postal address, included in every email (required by law)")
    mail: Annotated[str, AfterValidator(_check_provider)] = Field(title=_ask_provider())
    provider: InstanceOf[ProviderQuestionnaire]
    database: Annotated[str, AfterValidator(_check_database)] = Field(
        title="Database: sqlite, or postgresql+psycopg://user:password@host/name"
    )
    heartbeat: Heartbeat = Field(
        default="",
        title="URL to request after each night's maintenance, so that a service such as Healthchecks notices if this "
        "server stops (empty for none)",
    )
    subscribers: int = Field(
        default=0, ge=0, title="Expected number of subscribers at the start, including imported ones (0 if none)"
    )

    @property
    def host(self) -> str:
        """The host name in the public URL of the pages."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def sender_domain(self) -> str:
        """The domain that email is sent from."""
        return self.sender_address.rpartition("@")[2].lower()

    @property
    def is_behind_proxy(self) -> bool:
        """True if a web server is in front of the pages.

        That's the case if the pages' URL is https.
        """
        return self.base_url.startswith("https:")

    @property
    def draft(self) -> str:
        """The draft schedule, 12.5 hours before the send time.

        A morning edition is thus drafted on the evening before. If editions are sent several times
        a day, they're drafted at the same times.
        """
        rule = parse_schedule_rule(self.release)
        if rule.period:
            return self.release
        # Any week without a clock change works. 2024-01-01 is a Monday.
        monday = datetime(2024, 1, 1, rule.at.hour, rule.at.minute, tzinfo=UTC)
        moments = [monday + timedelta(days=day) - _DRAFT_BEFORE_RELEASE for day in rule.days]
        days = sorted({moment.weekday() for moment in moments})
        names = "daily" if len(days) == len(_WEEKDAYS) else ",".join(_WEEKDAYS[day] for day in days)
        return f"{names} {moments[0].time():%H:%M}"


@dataclass(frozen=True)
class SetupQuestion:
    """A question that setup asks.

    If it has a `provider`, it's asked only if that provider is chosen.
    """

    key: str
    field: FieldInfo
    provider: ProviderKind | None = None

    @property
    def text(self) -> str:
        """The text of the question."""
        return self.field.title or self.key

    @property
    def is_secret(self) -> bool:
        """True if the answer is hidden while it's typed."""
        return SecretMarker() in self.field.metadata

    @cached_property
    def checker(self) -> TypeAdapter[Any]:
        """The validator for answers to the question."""
        annotation: Any = self.field.annotation
        return TypeAdapter(Annotated[annotation, *self.field.metadata] if self.field.metadata else annotation)

    def is_asked(self, answers: Mapping[str, Any]) -> bool:
        """Return True if the question should be asked, given the earlier answers."""
        if self.provider is None:
            return True
        return answers.get("mail") == self.provider.name and self.provider.questionnaire.is_asked(self.key, answers)

    def is_needed(self, provider_name: str) -> bool:
        """Return True if setup with a provider requires an answer."""
        return self.field.is_required() and (self.provider is None or self.provider.name == provider_name)


def _list_questions() -> Iterator[SetupQuestion]:
    for key, field in SetupAnswers.model_fields.items():
        if key != "provider":
            yield SetupQuestion(key, field)
            continue
        for kind in load_provider_kinds():
            yield from (SetupQuestion(name, own, kind) for name, own in kind.questionnaire.model_fields.items())


QUESTIONS = tuple(_list_questions())
_QUESTIONS_BY_KEY = {question.key: question for question in QUESTIONS}


def check_answer(key: str, answer: object) -> Any:
    """Return an answer after validating and normalizing it.

    Raises:
        SetupError: the answer is invalid. The message says what to enter.
    """
    try:
        return _QUESTIONS_BY_KEY[key].checker.validate_python(answer)
    except ValidationError as exc:
        raise SetupError(f"{key}: {describe_value_error(dict(exc.errors(include_input=False)[0]))}") from None


def read_answers_file(file: Path) -> dict[str, Any]:
    """Return the validated answers from a TOML file.

    Raises:
        SetupError: the file can't be read, has a secret that other users can read, or has invalid
            answers (all are listed).
    """
    answers, mode = _load_answers(file)
    if _holds_secret(answers) and mode & 0o077:
        raise SetupError(f"{file} contains a secret, but other users can read the file. Run: chmod 600 {file}")
    unknown = [f"There's no question {key}" for key in answers if key not in _QUESTIONS_BY_KEY]
    checked, problems = _check_answers({key: answers[key] for key in answers.keys() & _QUESTIONS_BY_KEY.keys()})
    _refuse_problems(f"{file}:", [*unknown, *problems])
    return checked


def _load_answers(file: Path) -> tuple[dict[str, Any], int]:
    try:
        return tomllib.loads(file.read_text("utf-8")), stat.S_IMODE(file.stat().st_mode)
    except OSError as exc:
        raise SetupError(f"Can't read {file}: {exc.strerror}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{file} isn't valid TOML: {exc}") from exc


def _holds_secret(answers: Mapping[str, Any]) -> bool:
    secrets = [question.key for question in QUESTIONS if question.is_secret]
    return any(map(answers.get, secrets)) or "@" in str(answers.get("database", ""))


def _refuse_problems(heading: str, problems: Iterable[str]) -> None:
    if lines := [f"  {problem}" for problem in problems]:
        raise SetupError("\n".join((heading, *lines)))


def _check_answers(answers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    checked, problems = {}, []
    for key, answer in answers.items():
        try:
            checked[key] = check_answer(key, answer)
        except SetupError as exc:
            problems.append(str(exc))
    return checked, problems


def complete_answers(given_answers: Mapping[str, Any], present: Mapping[str, Any]) -> SetupAnswers:
    """Combine given answers with those of the existing installation.

    Given answers take precedence.

    Raises:
        SetupError: answers are missing or invalid; all are listed.
    """
    answers = {**present, **given_answers}
    checked, problems = _check_answers(answers)
    provider_name = checked.get("mail", "")
    needed = [question.key for question in QUESTIONS if question.is_needed(provider_name)]
    problems += [f"{key} has no answer" for key in needed if not answers.get(key)]
    _refuse_problems("No files were written:", problems)
    questionnaire = _find_questionnaire(provider_name)
    provider = questionnaire(**_pick_answers(checked, questionnaire))
    return SetupAnswers(**_pick_answers(checked, SetupAnswers) | {"provider": provider})


def _find_questionnaire(provider_name: str) -> type[ProviderQuestionnaire]:
    return next(kind.questionnaire for kind in load_provider_kinds() if kind.name == provider_name)


def _pick_answers(answers: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    return {key: answer for key, answer in answers.items() if key in model.model_fields}


def read_present_answers(settings: Settings) -> dict[str, Any]:
    """Return the answers that the existing settings contain, except example values."""
    file, shipped = settings.file, SettingsFileContent()
    present: dict[str, Any] = {
        "name": file.publication.name,
        "tagline": file.publication.tagline,
        "about": file.publication.about,
        "site": file.publication.site,
        "timezone": file.publication.timezone,
        "release": file.schedule.send,
        "postal_address": file.sender.postal_address,
        "database": settings.database_url or "sqlite",
        "heartbeat": file.heartbeats.nightly,
    }
    if values.is_local_url(settings.base_url) is False:
        present["base_url"] = settings.base_url
    present["sender_address"] = _unless_shipped(file.sender.address, shipped.sender.address)
    present["reply_to"] = _unless_shipped(file.sender.reply_to, shipped.sender.reply_to)
    return {key: answer for key, answer in present.items() if answer} | _read_present_mail(settings)


def _unless_shipped(value: str, shipped: str) -> str:
    return "" if value == shipped else value


def _read_present_mail(settings: Settings) -> dict[str, Any]:
    kinds = load_provider_kinds()
    kind = next((kind for kind in kinds if is_provider_in_use(kind, settings)), kinds[0])
    variable_names = [key for kind in kinds for key in kind.questionnaire.variables()]
    present = {key: answer for key in variable_names if (answer := settings.provider_variable(key))}
    return {"mail": kind.name} | kind.questionnaire.read_settings(settings) | present


def propose_answer(key: str, answers: Mapping[str, Any]) -> Any:
    """Return the default for an answer, based on earlier answers, or None."""
    question = _QUESTIONS_BY_KEY[key]
    if question.provider:
        return question.provider.questionnaire.propose(key, answers)
    host = urlsplit(str(answers.get("site", ""))).hostname or ""
    domain = "" if _is_example(host) else host.removeprefix("www.")
    sender_domain = str(answers.get("sender_address", "")).rpartition("@")[2]
    proposals: dict[str, Any] = {
        "base_url": f"https://news.{domain}" if domain else None,
        "sender_address": f"digest@news.{domain}" if domain else None,
        "reply_to": f"editors@{sender_domain}" if sender_domain else None,
        "heartbeat": "",
        "subscribers": 0,
    }
    return proposals.get(key)
