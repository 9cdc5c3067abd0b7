"""Forms are read by their models, and errors appear at their field."""

from datetime import date
from types import SimpleNamespace

import pytest
from jinja2 import StrictUndefined
from pydantic import Field
from werkzeug.datastructures import MultiDict

from digest.templating import create_jinja_environment
from digest.web.filters import refusal_sentence
from digest.web.forms import Count, Day, FormOrQueryModel, ReasonForm, read_form, read_query
from subscribers.english_text import count_with_noun
from subscribers.pages.forms import FormError


class VisitFields(FormOrQueryModel):
    day: Day = date(2026, 11, 27)
    most: Count = 50
    places: list[str] = Field(default=[])
    note: str = ""


def posted(**fields: str) -> MultiDict[str, str]:
    return MultiDict(fields)


def test_values_are_read_as_what_they_are_and_unknown_fields_are_ignored() -> None:
    values = MultiDict([("day", "2026-06-16"), ("most", " 1,000 "), ("note", " a b "), ("extra", "1")])
    values.setlist("places", ["Lagos", "Porto"])
    expected = VisitFields(day=date(2026, 6, 16), most=1000, places=["Lagos", "Porto"], note="a b")
    assert read_form(VisitFields, values) == expected


def test_every_wrong_field_has_its_own_sentence() -> None:
    with pytest.raises(FormError) as refused:
        read_form(VisitFields, posted(day="1066-10-14", most="many"))
    assert refused.value.problems == {"day": "Choose a day in 1970 or later.", "most": "must be a whole number"}


@pytest.mark.parametrize(
    ("reason", "said"),
    [("", "is missing"), ("for ann@example.org", "contains an address"), ("x" * 151, "is too long")],
)
def test_a_reason_is_words_without_an_address(reason: str, said: str) -> None:
    with pytest.raises(FormError, match=said) as refused:
        read_form(ReasonForm, posted(reason=reason))
    assert list(refused.value.problems) == ["reason"]


def test_what_a_query_says_unreadably_counts_as_not_said() -> None:
    fields = read_query(VisitFields, posted(day="soon", most="7", note="kept"))
    assert fields == VisitFields(most=7, note="kept")


@pytest.mark.parametrize("most", ["-1", "2147483648", "9" * 5000, "1e3", "\0"])
def test_no_number_reaches_the_database_that_a_column_cannot_hold(most: str) -> None:
    assert read_query(VisitFields, posted(most=most)) == VisitFields()


def test_the_macros_put_a_problem_next_to_its_field_and_escape_it() -> None:
    env = create_jinja_environment(None)
    env.undefined, env.autoescape = StrictUndefined, True
    env.filters |= {"count_with_noun": count_with_noun, "refusal_sentence": refusal_sentence}
    env.globals |= {"csrf_token": lambda: "token", "request": SimpleNamespace(form={"most": "<b>"})}
    page = "{% import 'web/forms.html' as forms %}{{ forms.refused(refusal) }}{{ forms.input(refusal, 'most', 'How many', maxlength=6) }}"
    text = env.from_string(page).render(refusal=FormError({"most": "use <b>digits</b>"}))
    assert "Check the field marked below." in text
    assert (
        'value="&lt;b&gt;" required autocomplete="off" maxlength="6" aria-invalid="true" aria-describedby="most-said"'
        in text
    )
    assert '<span class="err said-line" id="most-said">Use &lt;b&gt;digits&lt;/b&gt;.</span>' in text
    assert "aria-invalid" not in env.from_string(page).render(refusal=None)
