"""Template filters for dates, times, numbers, and names, and the branding of subscriber pages.

Staff pages are in English, and subscriber pages are in the publication's language. Moments are
shown in the publication's time zone.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment
from markupsafe import Markup, escape

from digest.app.editions.drafting import describe_story_origin
from digest.app.site.page_metadata import name_edition
from digest.collect.imaging.encoded_image import HEADER_WIDTH
from digest.collect.texts.urls import site_name
from digest.edition.content.edition_content import LabeledBlock
from digest.installation.action_words import name_actor
from digest.settings import BrandingSettings, HeaderImage, LightAndDarkLogo
from digest.settings.branding import Palette
from subscribers.english_text import (
    QUOTED_CODE,
    clock_hour,
    clock_time,
    count_with_noun,
    curl_quotes,
    end_sentence,
    full_date,
    hour_in_zone,
    join_words,
    month_day,
    sentence,
    short_month_day,
    weekday_date,
    weekday_month_day,
    zone_label,
)
from subscribers.subscriber_language import SubscriberLanguage

_CODE = Markup("<code>{}</code>")


def format_month(day: date) -> str:
    """Return the month of a date, such as "November 2026"."""
    return f"{day:%B %Y}"


def format_short_date(day: date) -> str:
    """Return a date in a short form, such as "Nov. 20, 2026"."""
    return f"{short_month_day(day)}, {day.year}"


def format_day_and_hour(local: datetime) -> str:
    """Return a moment with its weekday and zone, such as "Friday, November 20, 6 a.m. ET"."""
    return f"{weekday_month_day(local)}, {hour_in_zone(local)}"


def short_moment(local: datetime, local_now: datetime) -> str:
    """Return a moment such as "Nov. 20, 6:00 a.m.", with the year if it isn't the current one.

    This is for tables that mention their time zone once.
    """
    return f"{day_without_current_year(local.date(), local_now.date())}, {clock_time(local)}"


def moment_with_year(local: datetime) -> str:
    """Return "Nov. 20, 2026, 6 a.m. ET"."""
    return f"{format_short_date(local)}, {hour_in_zone(local)}"


def recent_moment(local: datetime, local_now: datetime) -> str:
    """Return the time of a moment today, such as "6:00 a.m.", or the result of `short_moment` for another day."""
    return clock_time(local) if local.date() == local_now.date() else short_moment(local, local_now)


def day_without_current_year(day: date, today: date) -> str:
    """Return a date such as "Nov. 20", or "Nov. 20, 2025" if the year isn't the current one."""
    return short_month_day(day) if day.year == today.year else format_short_date(day)


def parse_recorded_moment(text: str) -> datetime | None:
    """Parse a recorded moment (ISO 8601), or return None if it's damaged."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def typeset(text: str) -> Markup:
    """Return a text of this program as HTML with curly quotation marks.

    Quoted code is put in `code` elements.
    """
    start, parts = 0, []
    for code in QUOTED_CODE.finditer(text):
        parts += [escape(curl_quotes(text[start : code.start()])), _CODE.format(code["ticked"] or code["quoted"])]
        start = code.end()
    return Markup("").join([*parts, escape(curl_quotes(text[start:]))])


def refusal_sentence(refusal: object) -> Markup:
    """Return a refusal as a sentence that begins with a capital letter.

    Many messages begin with a lowercase letter. Names of settings aren't changed.
    """
    text = str(refusal)
    return typeset(sentence(text) if text.split(" ", 1)[0].replace("'", "").isalpha() else text)


def as_sentence(text: str) -> str:
    """Return a text or markup as a sentence (see `sentence`).

    Markup remains markup.
    """
    return type(text)(sentence(text))


def state_name(state: str) -> str:
    """Return the name of an edition's state, as shown on pages."""
    return {"held": "incomplete", "cancelled": "canceled"}.get(state, str(state))


def thousands(count: int) -> str:
    """Return a number with separators, such as "12,408"."""
    return f"{count:,}"


def kilobytes(octets: int) -> str:
    """Return a size such as "54 KB", rounded up so that exceeding a limit is visible."""
    return f"{-(-octets // 1024)} KB"


def url_without_scheme(url: str) -> str:
    """Return a URL as host and path, without the scheme and a trailing slash."""
    return f"{site_name(url)}{urlsplit(url).path}".rstrip("/")


def word_mark(name: str) -> Markup:
    """Return a name as a word mark, with its first dot, if any, in the accent color."""
    before, dot, after = name.partition(".")
    return Markup("{}<i>{}</i>{}").format(before, dot, after) if dot else escape(name)


def format_block_dates(block: LabeledBlock) -> str:
    """Return the period of a labeled block, such as "from Dec. 20, 2026, to Jan. 3, 2027"."""
    parts = (("from", block.first_day), ("to" if block.first_day else "until", block.last_day))
    return ", ".join(f"{word} {format_short_date(day)}" for word, day in parts if day)


def groups_of_four(text: str) -> str:
    """Return a text in groups of four characters that are easier to type, such as "abcd efgh ij"."""
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


# These take a moment in the publication's time zone.
MOMENT_FILTERS: Mapping[str, Callable[[datetime], str]] = {
    "long_day": weekday_date,
    "date_of": full_date,
    "month_day_of": month_day,
    "month_of": format_month,
    "weekday_of": weekday_month_day,
    "short_day": format_short_date,
    "moment_with_year": moment_with_year,
    "hour_of": clock_hour,
    "clock_of": clock_time,
    "hour_with_zone": hour_in_zone,
    "day_and_hour": format_day_and_hour,
}
PLAIN_FILTERS = (
    as_sentence,
    state_name,
    count_with_noun,
    describe_story_origin,
    format_block_dates,
    format_short_date,
    end_sentence,
    groups_of_four,
    join_words,
    kilobytes,
    name_actor,
    parse_recorded_moment,
    refusal_sentence,
    sentence,
    short_month_day,
    site_name,
    thousands,
    typeset,
    url_without_scheme,
    word_mark,
    zone_label,
)


# The filters for subscriber pages use the publication's language.
SUBSCRIBER_MOMENT_FORMS = ("full_date", "short_date", "month_day", "weekday_month_day", "month_year", "hour_in_zone")


def install_subscriber_filters(
    environment: Environment, find_language: Callable[[], SubscriberLanguage], find_zone: Callable[[], ZoneInfo]
) -> None:
    """Add filters that use the language and time zone in effect when a page is rendered."""

    def write_moment(form: str) -> Callable[[datetime], str]:
        return lambda moment: str(getattr(find_language(), form)(moment.astimezone(find_zone())))

    environment.filters |= {form: write_moment(form) for form in SUBSCRIBER_MOMENT_FORMS}
    environment.filters |= {
        "issue": lambda number: name_edition(number, find_language()),
        "link_tag": make_link_start_tag,
        "translated": lambda text: find_language().translate_text(text),
        "written_number": lambda number: find_language().format_number(number),
    }
    environment.globals["link_end"] = Markup("</a>")


def make_link_start_tag(url: str) -> Markup:
    """Return the start tag of a link, as a value for a message.

    `link_end` closes the link.
    """
    return Markup('<a href="{}">').format(url)


def apply_branding(css: str, branding: BrandingSettings) -> str:
    """Return the style sheet of subscriber pages with the colors, fonts, and shapes of the publisher."""
    if branding.is_always_dark:
        css = css.replace("@media screen and (prefers-color-scheme: dark)", "@media screen", 1)
        css = css.replace("color-scheme: light dark", "color-scheme: dark", 1)
        # Paper is white, but the logo is made for a dark page.
        css += "@media print { .top .mark img { filter: invert(1) hue-rotate(180deg); } }\n"
    return css + build_branding_styles(branding)


def build_branding_styles(branding: BrandingSettings) -> str:
    """Return a style sheet to follow base.css and reader.css, or "" for the default branding."""
    if branding == BrandingSettings():
        return ""
    news = "var(--serif)" if branding.headings == "serif" else branding.heading_font
    bar = "var(--link)" if branding.bar_color == "accent" else "var(--ink)"
    # For printing, public.css sets the colors.
    return (
        f":root {{ --sans: {branding.text_font}; --news: {news}; --bar: {branding.bar}px; --bar-color: {bar}; "
        f"--button: {branding.button_radius}px; --corner: {branding.panel_radius}px; }}\n"
        f"@media screen {{ :root {{ {_write_palette(branding.light)} }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_write_palette(branding.dark)} }} }}\n"
    )


def _write_palette(palette: Palette) -> str:
    return " ".join(f"--{name}: {color};" for name, color in asdict(palette).items())


def build_publication_mark(name: str, logo: LightAndDarkLogo | None, media_path: str) -> Markup:
    """Return the header of subscriber pages: the logo for the color scheme, or the name as a word mark."""
    if logo is None:
        return word_mark(name)
    return Markup(
        '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{path}{dark}" width="{dark_width}" height="{dark_height}">'
        '<img src="{path}{light}" width="{light_width}" height="{light_height}" alt="{name}"></picture>'
    ).format(path=media_path, name=name, **logo.model_dump())


def build_header_image(header: HeaderImage | None, media_path: str) -> Markup:
    """Return the image above the masthead of subscriber pages, or empty markup."""
    if header is None:
        return Markup("")
    return Markup('<img class="header" src="{}{}" width="{}" height="{}" alt="">').format(
        media_path, header.image, HEADER_WIDTH, header.height
    )
