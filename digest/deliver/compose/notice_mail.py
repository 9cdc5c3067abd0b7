"""Templates for transactional emails, which have a simple layout and contain only our own text.

The HTML of each kind is rendered and inlined once per run (0.1 s), with slots for the recipient's
values. Each email then takes 0.2 ms. Values are escaped and filled in here. Links with tokens stay
slots until the email is sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from markupsafe import escape

from digest.deliver.compose.message import MessageTemplate
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, Slot, SlottedText
from digest.edition.rendering.css_inlining import inline_css
from digest.edition.rendering.fragments import (
    PublicationContext,
    build_publication_context,
    create_localized_mail_environment,
)
from digest.edition.rendering.sanitizer import sanitize_text
from digest.edition.rendering.slot_marks import SlotMarks
from digest.settings import Settings
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage

# The recipients of these can unsubscribe with one click.
SUBSCRIBER_NOTICE_KINDS = frozenset({"known", "link", "welcome", "choices", "leave", "stay", "correction", "restored"})
# These are always in English.
TO_STAFF = frozenset({"contact", "staff", "seal", "gone", "alarm", "alert", "deadline", "guard", "summary"})


@dataclass(frozen=True)
class NoticeComposer:
    """A composer of transactional emails that caches the HTML of each kind for one run."""

    settings: Settings
    frame: PublicationContext
    _html_cache: dict[tuple[str, frozenset[str]], SlottedText] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Settings) -> "NoticeComposer":
        """Return a composer that uses the settings' templates and publication texts."""
        return cls(settings, build_publication_context(settings))

    def compose_notice(self, kind: str, facts: Mapping[str, str]) -> MessageTemplate:
        """Return the message template of a transactional email.

        The recipient's `facts` are filled in, except for empty ones.

        Raises:
            jinja2.TemplateError: an operator template is broken.
        """
        sender, base, marks = self.settings.file.sender, self.settings.link_base, SlotMarks()
        subscriber = kind in SUBSCRIBER_NOTICE_KINDS
        return MessageTemplate(
            subject=self.render_subject(kind, facts),
            sender_name=sender.name,
            sender_address=sender.address,
            reply_to=sender.reply_to,
            text=marks.split(_collapse_blank_lines(self._render_part(kind, "body.txt", facts, marks))),
            html=self._html_with_facts(kind, facts),
            list_id=(self.settings.file.publication.name, sender.list_id) if subscriber else None,
            unsubscribe_url_prefix=f"{base}/u/" if subscriber else "",
            unsubscribe_mail_domain=self.settings.unsubscribe_mail_domain,
            # See RFC 3834, section 5.
            extra_headers={"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "OOF, AutoReply"},
        )

    def render_subject(self, kind: str, facts: Mapping[str, str]) -> str:
        """Return the subject of a transactional email as a single line."""
        marks = SlotMarks()
        return sanitize_text(marks.split(self._render_part(kind, "subject.txt", facts, marks)).text)

    def _html_with_facts(self, kind: str, facts: Mapping[str, str]) -> SlottedText:
        key = (kind, frozenset(name for name, value in facts.items() if value))
        if key not in self._html_cache:
            marks = SlotMarks()
            stand_ins = {name: marks.mark(_fact_slot(name)) if value else "" for name, value in facts.items()}
            self._html_cache[key] = inline_css(marks.split(self._render_part(kind, "body.html", stand_ins, marks)))
        escaped = {_fact_slot(name): str(escape(value)) for name, value in facts.items()}
        return self._html_cache[key].fill_some(escaped)

    def _render_part(
        self,
        kind: str,
        part: str,
        facts: Mapping[str, str],
        marks: SlotMarks,
    ) -> str:
        base, language = self.frame.base, choose_notice_language(self.settings, kind)
        frame = self.frame
        if kind in TO_STAFF:
            frame = replace(frame, language=language.code, direction=language.direction, subscriber_language=language)
        environment = create_localized_mail_environment(self.settings.templates, language)
        return environment.get_template(f"mail/{kind}/{part}").render(
            frame=frame,
            facts=facts,
            leave=f"{base}/u/{marks.mark(LEAVE_SLOT)}",
            preferences=f"{base}/preferences/{marks.mark(PREFERENCES_SLOT)}",
        )


def _fact_slot(name: str) -> Slot:
    return Slot(f"fact {name}")


def choose_notice_language(settings: Settings, kind: str) -> SubscriberLanguage:
    """Return the language for a transactional email: English for the staff, or else the subscribers' language."""
    return ENGLISH if kind in TO_STAFF else settings.subscriber_language


def _collapse_blank_lines(text: str) -> str:
    """Reduce blank lines between paragraphs to one, and remove those at the start and end."""
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"
