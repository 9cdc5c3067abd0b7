"""How readers' pages write days, hours, numbers and links: in the publication's language, and in its zone."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from jinja2 import Environment
from markupsafe import Markup

from subscribers.reader_language import ReaderLanguage

MOMENT_FORMS = ("full_date", "short_date", "month_day", "weekday_month_day", "month_year", "hour_in_zone")


def install_reader_filters(
    environment: Environment, find_language: Callable[[], ReaderLanguage], find_zone: Callable[[], ZoneInfo]
) -> None:
    """Give templates the forms of `ReaderLanguage`, in the language and the zone that are found when a page is written."""

    def write_moment(form: str) -> Callable[[datetime], str]:
        return lambda moment: str(getattr(find_language(), form)(moment.astimezone(find_zone())))

    environment.filters |= {form: write_moment(form) for form in MOMENT_FORMS}
    environment.filters |= {
        "issue": lambda number: find_language().gettext("No. %(number)s", number=number),
        "link_tag": open_link,
        "translated": lambda text: find_language().translate_text(text),
        "written_number": lambda number: find_language().write_number(number),
    }
    environment.globals["link_end"] = Markup("</a>")


def open_link(url: str) -> Markup:
    """Return the tag that opens a link, as the value of a message; `link_end` closes it."""
    return Markup('<a href="{}">').format(url)
