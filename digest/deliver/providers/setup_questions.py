"""The base class of a provider's questions in `digest setup`, and of everything derived from the answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from digest.settings import Settings
from digest.settings.values import SettingsTable


@dataclass(frozen=True, slots=True)
class SetupStep:
    """A step for the operator to take: what to do and why, and the lines to enter."""

    title: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the step as a paragraph with its lines indented."""
        return "\n  ".join((self.title, *self.lines))


@dataclass(frozen=True, slots=True)
class SecretMarker:
    """A marker for the type of a secret answer."""


def check_environment_file_text(text: str) -> str:
    """Check that a text fits between the quotes in `digest.env`, and return it.

    Raises:
        ValueError: the text contains quotation marks, backslashes, or unprintable characters.
    """
    if any(character in "'\"\\" or not character.isprintable() for character in text):
        raise ValueError("Enter one line without quotation marks or backslashes.")
    return text


EnvironmentFileText = Annotated[str, AfterValidator(check_environment_file_text)]
SecretText = Annotated[EnvironmentFileText, SecretMarker()]


class ProviderQuestionnaire(SettingsTable):
    """The questions about a provider, as fields with the answers as their values.

    A field's title is the text of the question, and its name starts with the
    provider's name. Without a default, an answer is required. A field named like one of the
    provider's variables (`variables.toml`) is stored in that variable.
    """

    words: ClassVar[str]  # the provider's name in the list of choices
    plain_url: ClassVar[str]  # value of `DIGEST_MAIL_URL` if no answer is part of it
    sends: ClassVar[bool] = True  # whether email leaves this machine
    feedback_steps: ClassVar[tuple[SetupStep, ...]] = ()  # how to receive bounces and complaints

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the names of the environment variables that store answers, by field."""
        return {key: f"DIGEST_{key.upper()}" for key in cls.model_fields if key in Settings.model_fields}

    @classmethod
    def is_asked(cls, key: str, answers: Mapping[str, Any]) -> bool:
        """Return True if a question should be asked, given the previous answers."""
        del key, answers
        return True

    @classmethod
    def propose(cls, key: str, answers: Mapping[str, Any]) -> Any:
        """Return the proposed answer, given the previous answers, or None."""
        del key, answers

    @classmethod
    def read_settings(cls, settings: Settings) -> dict[str, Any]:
        """Return the answers contained in the current settings, except those stored in `variables`."""
        del settings
        return {}

    @property
    def mail_url(self) -> str:
        """The value of `DIGEST_MAIL_URL`."""
        return self.plain_url

    @property
    def server_host(self) -> str:
        """The host of the mail server that our email is submitted to, or "" if it's the provider's."""
        return ""

    @property
    def signs_here(self) -> bool:
        """True if this program signs email with DKIM."""
        return False

    @property
    def relay_dkim_record(self) -> str:
        """The value of `relay.dkim_record`."""
        return ""

    def account_steps(self, sender_domain: str, base_url: str) -> Iterable[SetupStep]:
        """Return the steps to take in the provider's account before sending."""
        del sender_domain, base_url
        return ()
