"""The consent texts that subscribers agree to now and agreed to earlier."""

from dataclasses import dataclass
from datetime import datetime

from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from subscribers.consent import consent_texts
from subscribers.consent.breaking_news import mentions_breaking_news
from subscribers.consent.consent_texts import ConsentText, ConsentTextVersion

LIST = Action("consent wordings listed")


@dataclass(frozen=True, slots=True)
class ConsentTextRegister:
    """The current consent text, and all texts that have been shown.

    `kept` has the latter, newest first. It includes the current text once that has been shown.
    """

    current: ConsentText
    kept: tuple[ConsentTextVersion, ...]

    @property
    def is_kept(self) -> bool:
        """True if the current text already has a version."""
        return any(map(self.is_current, self.kept))

    def is_current(self, wording: ConsentTextVersion) -> bool:
        """Return True if a stored text is the current one."""
        return (wording.hash, wording.language) == (self.current.hash, self.current.language)


def view_consent_texts(installation: Installation, actor: Actor, *, now: datetime) -> ConsentTextRegister:
    """Return the current consent text and all earlier ones.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    LIST.check_role(installation, actor, "wordings", now=now)
    with installation.read() as session:
        return ConsentTextRegister(build_consent_text(installation.settings), consent_texts.list_consent_texts(session))


def build_consent_text(settings: Settings, *, breaking_news: bool = False) -> ConsentText:
    """Return the consent text for new subscribers.

    It's the publisher's own text, or else the standard text for the publication's schedule. With
    `breaking_news`, return the text for people who choose breaking news, which always mentions it.
    """
    publication, language, template = (
        settings.file.publication,
        settings.subscriber_language,
        settings.file.consent.text,
    )
    if not template:
        frequency = settings.mail_frequency
        template = frequency.consent_with_breaking_news if breaking_news else frequency.consent
    if breaking_news and not mentions_breaking_news(template, language):
        named = language.gettext("breaking news")
        more = language.gettext(
            "Also email me %(breaking_news)s. I can turn that off at any time.", breaking_news=named
        )
        template = f"{template} {more}"
    return consent_texts.fill_consent_template(template, name=publication.name, language=publication.language)
