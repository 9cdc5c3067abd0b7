"""The base of what `digest setup` asks for a provider, and of what follows from the answers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from digest.settings import Settings
from digest.settings.values import SettingsTable


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One thing to do: what and why, and the lines to type or to enter elsewhere."""

    title: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it as a paragraph, with its lines indented."""
        return "\n  ".join((self.title, *self.lines))


@dataclass(frozen=True, slots=True)
class SecretAnswer:
    """Marks the type of an answer that is a secret."""


def check_environment_file_text(text: str) -> str:
    """Check a text that has to fit between the quotes of `digest.env`.

    Raises:
        ValueError: it has quotes, backslashes, or characters that can't be printed.
    """
    if any(character in "'\"\\" or not character.isprintable() for character in text):
        raise ValueError("Enter one line without quotation marks or backslashes.")
    return text


EnvironmentFileText = Annotated[str, AfterValidator(check_environment_file_text)]
SecretText = Annotated[EnvironmentFileText, SecretAnswer()]


class ProviderSetupAnswers(SettingsTable):
    """The answers about one provider.

    A field is a question: its title is the text, and its name begins with the provider's. Without a default, it has to be
    answered. A field that is named like a variable of the provider (`variables.toml`) is kept in that variable.
    """

    words: ClassVar[str]  # how the question for the provider lists it
    plain_url: ClassVar[str]  # of `DIGEST_MAIL_URL`, where no answer is a part of it
    sends: ClassVar[bool] = True  # email leaves this machine
    feedback_steps: ClassVar[tuple[SetupStep, ...]] = ()  # what makes bounces and complaints come in

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the names of the variables that answers are kept in, by the answer's key."""
        return {key: f"DIGEST_{key.upper()}" for key in cls.model_fields if key in Settings.model_fields}

    @classmethod
    def is_asked(cls, key: str, answers: Mapping[str, Any]) -> bool:
        """Return whether a question makes sense after the answers before it."""
        del key, answers
        return True

    @classmethod
    def propose(cls, key: str, answers: Mapping[str, Any]) -> Any:
        """Return what is proposed where nothing is known, from the answers before; None: nothing can be."""
        del key, answers

    @classmethod
    def read_settings(cls, settings: Settings) -> dict[str, Any]:
        """Return the answers that present settings have, apart from `variables`."""
        del settings
        return {}

    @property
    def mail_url(self) -> str:
        """The value of `DIGEST_MAIL_URL`."""
        return self.plain_url

    @property
    def server_host(self) -> str:
        """The mail server that hands our email to the world; empty where it's the provider's."""
        return ""

    @property
    def signs_here(self) -> bool:
        """Whether email is signed here (DKIM)."""
        return False

    @property
    def relay_dkim_record(self) -> str:
        """The value of `relay.dkim_record`."""
        return ""

    def account_steps(self, sender_domain: str, base_url: str) -> Iterable[SetupStep]:
        """Return what to do in the provider's account before anything is sent."""
        del sender_domain, base_url
        return ()
