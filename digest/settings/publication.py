"""The tables of `digest.toml` about the publication.

They set its name, consent text, preferences, sender, schedule, and approval.
"""

from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from digest.settings import values
from digest.settings.guarded_areas import GuardedArea
from digest.settings.values import setting
from digest.timetable import ScheduleRule, parse_schedule_rule
from subscribers.consent.consent_texts import check_consent_template
from subscribers.subscriber_language import find_writing_direction


class PublicationSettings(values.SettingsTable, title="Publication"):
    """The newsletter itself."""

    # The consent text contains the publication's name and depends on its language.
    name: Annotated[values.FilledLine, GuardedArea.CONSENT_TEXT] = setting(
        "HLS.Today", "Name", "In emails and on pages."
    )
    tagline: Annotated[values.SingleLine, GuardedArea.NONE] = setting(
        "The homeland-security week in one read", "Tagline", "One line for the archive and its feed."
    )
    site: Annotated[str, AfterValidator(values.check_web_address), GuardedArea.SENDER] = setting(
        "https://hls.today/", "Website", "Emails and pages link to it."
    )
    about: Annotated[values.LongText, GuardedArea.TEXT] = setting(
        "HLS.Today covers news and information on homeland security and public safety "
        "for people in the public and private sectors.",
        "About",
        "One sentence for the footer of every email.",
    )
    editor: Annotated[values.SingleLine, GuardedArea.NONE] = setting(
        "", "Editor", "The name that signs the intro. Leave empty for no signature."
    )
    intro: Annotated[values.LongText, GuardedArea.NONE] = setting(
        "",
        "Intro",
        "The intro of each new draft.",
        "You can use `*emphasis*`, `**strong**`, `[links](https://…)`, and blank lines.",
    )
    language: Annotated[str, GuardedArea.CONSENT_TEXT] = setting(
        "en",
        "Language",
        "The subscribers' language: en, fr, or one you have a catalog for.",
        "[Add one](translating.md#add-a-language).",
    )
    timezone: Annotated[str, AfterValidator(values.check_time_zone), GuardedArea.NONE] = setting(
        "America/New_York", "Time zone", "For settings and editors' pages."
    )
    first_number: Annotated[int, GuardedArea.NONE] = setting(
        1, "First number", "The number of the first edition made here.", ge=1
    )

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the publication's days and hours."""
        return ZoneInfo(self.timezone)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The writing direction of the publication's language, for the `dir` attribute."""
        return find_writing_direction(self.language)


class ConsentSettings(values.SettingsTable, title="Consent"):
    """The text that people agree to when they press the button in the confirmation email.

    Each consent event has the text that was shown.
    [`digest subscribers consent-texts`](commands.md#digest-subscribers-consent-texts) lists all versions.
    """

    guarded_area: ClassVar = GuardedArea.CONSENT_TEXT

    text: Annotated[values.LongText, AfterValidator(check_consent_template)] = setting(
        "",
        "Consent text",
        "{name} stands for the publication's name. If the text is empty, the standard text is used.",
        "That depends on `publication.language` and the number of days in `schedule.send`. Before you send more often than people agreed to, ask them again.",
        empty="standard text",
    )


OfferRule = Literal["offer", "off"]


class PreferenceSettings(values.SettingsTable, title="Preferences"):
    """Preferences that you can turn off.

    Subscribers don't see a preference that's off, and their choices have no effect.
    """

    topics: Annotated[OfferRule, GuardedArea.NONE] = setting(
        "offer",
        "Topics",
        "Lets subscribers leave out topics in sections that list stories by topic.",
        "An edition has at most 64 versions, so rare combinations can include more topics.",
        choices={"offer": "Subscribers can choose them", "off": "Everyone gets every topic"},
    )

    breaking_news: Annotated[OfferRule, GuardedArea.NONE] = setting(
        "offer",
        "Breaking news",
        "Lets subscribers choose emails about breaking news, which are off until they do.",
        "They're on for people who sign up themselves with a consent text that mentions “breaking news” in the publication's language. The sign-up form and privacy page mention them.",
        choices={"offer": "Subscribers can choose it", "off": "Don't offer it"},
    )

    @property
    def hidden(self) -> frozenset[str]:
        """The names of the preferences that aren't offered."""
        return frozenset({"topics": "omit_topics"}.get(name, name) for name, offer in self if offer == "off")

    @property
    def offers_breaking_news(self) -> bool:
        """True if subscribers can choose breaking news.

        Otherwise, their choices have no effect.
        """
        return "breaking_news" not in self.hidden


class SenderSettings(values.SettingsTable, title="Sender"):
    """The sender of all emails. They don't leave this machine until there's a postal address."""

    guarded_area: ClassVar = GuardedArea.SENDER

    name: values.SingleLine = setting("HLS.Today", "Name", "The name in From.")
    address: values.MailAddress = setting("digest@news.example.org", "Address", "The address in From.")
    reply_to: values.MailAddress = setting("editors@news.example.org", "Reply to", "Replies go to this address.")
    postal_address: Annotated[
        values.LongText, values.NeverEmptied("The law requires a postal address in every email. Enter one.")
    ] = setting(
        "",
        "Postal address",
        "Every email includes it.",
    )
    list_id: Annotated[values.ListId, values.ASKED_TWICE] = (
        setting(  # RFC 2919, section 4: constant for as long as the list exists
            "weekly.news.example.org", "List-Id", "Never change it, because subscribers' filters use it."
        )
    )
    bounce_domain: Annotated[str, AfterValidator(values.check_domain)] = setting(
        "",
        "Bounce domain",
        "Bounces go to bounce+… at this domain. Leave empty to use the address above.",
        empty="the sender address's domain",
    )
    feedback_id: Annotated[str, AfterValidator(values.check_feedback_sender)] = setting(
        "",
        "Feedback-ID",
        "5 to 15 letters, digits, hyphens, or underscores. Leave empty for none.",
        "Gmail's Postmaster Tools report complaints by it.",
    )


DeadlineRule = Literal["wait", "skip", "send-last-approved"]


class ScheduleSettings(values.SettingsTable, title="Schedule"):
    """When things happen, in the publication's time zone: `daily 06:00`, `fri 06:00`, `mon,thu 17:30`, or `every 5m`."""

    # The standard consent text says how many days a week have a send time.
    send: Annotated[values.RuleText, GuardedArea.SEND_TIME] = setting(
        "fri 06:00",
        "Send time",
        "Only approved editions are sent.",
    )
    draft: Annotated[values.RuleText, GuardedArea.NONE] = setting(
        "thu 17:30", "Draft time", "When a new edition is drafted."
    )
    deadline_hours: Annotated[float, GuardedArea.NONE] = setting(
        10,
        "Approve by",
        "Hours before the usual send time.",
        ge=0,
        le=168,
    )
    reminder_hours: Annotated[list[Annotated[float, Field(gt=0, le=168)]], GuardedArea.NONE] = setting(
        [11],
        "Remind editors",
        "Hours before the usual send time. Leave empty for no reminders.",
        "Values are at most 168.",
    )
    at_deadline: Annotated[DeadlineRule, GuardedArea.APPROVAL] = setting(
        "wait",
        "If it isn't approved in time",
        "Applies at the deadline and again at the send time.",
        "`skip` moves its stories to the next edition. `send-last-approved` sends the last approved version unless it was revoked.",
        choices={
            "wait": "Wait until it's approved",
            "skip": "Skip the week and keep its stories for the next edition",
            "send-last-approved": "Send the last approved version if there is one, or wait",
        },
    )
    final_check_minutes: Annotated[int, GuardedArea.ALERTS] = setting(
        20,
        "Check every article again",
        "Minutes before the send time. Use 0 to skip the check.",
        ge=0,
        le=24 * 60,
    )
    at_gone_article: Annotated[Literal["stop", "send"], GuardedArea.ALERTS] = setting(
        "stop",
        "If visitors can't read an article",
        "Editors are notified either way.",
        "`stop` also pauses the edition until an editor decides.",
        choices={
            "stop": "Pause the edition until an editor decides",
            "send": "Send the edition and notify the editors",
        },
    )
    collect: Annotated[list[values.RuleText], GuardedArea.NONE] = setting(
        ["daily 05:00", "daily 17:00"], "Collection", "When new articles are collected from your sources."
    )

    @property
    def collect_rules(self) -> tuple[ScheduleRule, ...]:
        """The times at which sources are visited."""
        return tuple(parse_schedule_rule(text) for text in self.collect)

    @property
    def draft_rule(self) -> ScheduleRule:
        """The times at which an edition is drafted."""
        return parse_schedule_rule(self.draft)

    @property
    def send_rule(self) -> ScheduleRule:
        """The times at which an approved edition is sent."""
        return parse_schedule_rule(self.send)


class ApprovalSettings(values.SettingsTable, title="Approval"):
    """The approvals that an edition needs before it's sent."""

    guarded_area: ClassVar = GuardedArea.APPROVAL

    approvers: Literal[1, 2] = setting(
        1,
        "Approvers needed",
        (
            "People other than the author who must approve each text, link, and image. With one, a sole editor can approve alone."
        ),
        choices={1: "One", 2: "Two"},
    )
