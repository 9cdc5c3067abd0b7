"""Forms and queries of staff pages, parsed with models as on all pages (`subscribers.pages.forms`).

A page declares a `FormOrQueryModel` and calls `read_form`. Its template shows a `FormError` with the
macros in `web/forms.html`: `refused` above the form, and `input` (or `marks` and `problem`) at each field.
"""

from collections.abc import Callable
from datetime import date
from typing import Annotated, TypeVar

from flask import request
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from werkzeug.datastructures import MultiDict

from digest.installation.action_reasons import read_reason
from digest.settings.loader import describe_value_error
from digest.web.url_rules import MAX_ROW_NUMBER
from subscribers.errors import RefusalError
from subscribers.pages import forms
from subscribers.pages.forms import FormModel

_FIRST_YEAR, _LAST_YEAR = 1970, 9000


class FormOrQueryModel(FormModel):
    """Base class for forms and queries.

    Unknown fields and spaces around values are ignored.
    """

    model_config = ConfigDict(str_strip_whitespace=True, validate_default=True)


Fields = TypeVar("Fields", bound=FormOrQueryModel)


def read_form(model: type[Fields], values: MultiDict[str, str] | None = None) -> Fields:
    """Parse the submitted form, or `values`.

    Raises:
        FormError: a field is missing or invalid.
    """
    return forms.read_form(model, request.form if values is None else values, describe_value_error)


def read_query(model: type[Fields], values: MultiDict[str, str] | None = None) -> Fields:
    """Parse the query of the URL, or `values`.

    Invalid fields are replaced by their defaults.
    """
    given_values = forms.pick_values(model, request.args if values is None else values)
    try:
        return model.model_validate(given_values)
    except ValidationError as exc:
        unreadable = {error["loc"][0] for error in forms.list_errors(exc)}
    return model.model_validate({name: value for name, value in given_values.items() if name not in unreadable})


def make_field_validator(read: Callable[[str], str]) -> AfterValidator:
    """Return a validator that calls a function, and uses the text of its `RefusalError` as the field's problem."""

    def check(text: str) -> str:
        try:
            return read(text)
        except RefusalError as exc:
            raise ValueError(str(exc)) from None

    return AfterValidator(check)


def _check_day(day: date) -> date:
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"Choose a day in {_FIRST_YEAR} or later.")
    return day


def _strip_commas(value: object) -> object:
    return value.replace(",", "") if isinstance(value, str) else value


# The reason is for the audit log. It's a single line without addresses.
Reason = Annotated[str, make_field_validator(read_reason)]
Day = Annotated[date, AfterValidator(_check_day)]  # such as 2026-06-16
Count = Annotated[int, BeforeValidator(_strip_commas), Field(ge=0, le=MAX_ROW_NUMBER)]  # "1,000" is read as 1000


class ReasonForm(FormOrQueryModel):
    """A form with a reason."""

    reason: Reason = ""
