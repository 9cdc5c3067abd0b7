"""What readers agree to, as the settings say it now, and what they agreed to before."""

from dataclasses import dataclass
from datetime import datetime

from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.settings.affected_areas import AffectedArea
from subscribers.consent import consent_texts
from subscribers.consent.breaking_news import names_breaking_news
from subscribers.consent.consent_texts import ConsentText, ConsentTextVersion

LIST = Action("consent wordings listed", Role.ADMIN, AffectedArea.NONE)


@dataclass(frozen=True, slots=True)
class ConsentTextRegister:
    """All words that readers were asked by, the newest first, and those that count now; they are in `kept` once somebody was asked."""

    current: ConsentText
    kept: tuple[ConsentTextVersion, ...]

    @property
    def is_kept(self) -> bool:
        """Whether the words that count now have a version already."""
        return any(map(self.is_current, self.kept))

    def is_current(self, wording: ConsentTextVersion) -> bool:
        """Return whether a kept wording is the one that counts now."""
        return (wording.hash, wording.language) == (self.current.hash, self.current.language)


def view_consent_texts(installation: Installation, actor: Actor, *, now: datetime) -> ConsentTextRegister:
    """Show what readers agree to now, and all that they agreed to before.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    LIST.check_role(installation.database, actor, "wordings", now=now)
    with installation.database.read() as session:
        return ConsentTextRegister(
            current_consent_text(installation.settings), consent_texts.list_consent_texts(session)
        )


def current_consent_text(settings: Settings, *, breaking_news: bool = False) -> ConsentText:
    """Return the text that people who sign up now agree to: the publisher's, or else the standard one for its schedule.

    With `breaking_news`, it's the text of people who choose that: it names breaking news, whoever wrote it.
    """
    publication, language, template = (
        settings.file.publication,
        settings.subscriber_language,
        settings.file.consent.text,
    )
    if not template:
        frequency = settings.mail_frequency
        template = frequency.consent_with_breaking_news if breaking_news else frequency.consent
    if breaking_news and not names_breaking_news(template, language):
        named = language.gettext("breaking news")
        more = language.gettext(
            "Also email me %(breaking_news)s. I can turn that off at any time.", breaking_news=named
        )
        template = f"{template} {more}"
    return consent_texts.fill_consent_template(template, name=publication.name, language=publication.language)
