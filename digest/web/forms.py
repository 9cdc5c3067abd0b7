"""Reading forms and queries with pydantic: a model names the fields, and each problem is shown next to its field.

A page declares a `PageFields` model and calls `read_form`. Its template shows a `FormError` with the macros of
`web/forms.html`: `refused` above the form, `input` (or `marks` and `problem`) at each field.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, TypeVar, get_origin

from flask import request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from werkzeug.datastructures import MultiDict

from digest.installation.reasons import read_reason
from digest.settings.loader import describe_value_error
from digest.web.routes import MAX_ROW_NUMBER
from subscribers.errors import RefusalError

_FIRST_YEAR, _LAST_YEAR = 1970, 9000


class FormError(RefusalError):
    """Fields with values that can't be taken; `problems` has a sentence for each, by the field's name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(self.problems.values()))


class PageFields(BaseModel):
    """The fields of a form or a query. Unknown fields are ignored, and so are spaces around a value."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True, validate_default=True)


Fields = TypeVar("Fields", bound=PageFields)


def read_form(model: type[Fields], values: MultiDict[str, str] | None = None) -> Fields:
    """Return the fields of the posted form, or of `values`.

    Raises:
        FormError: a field is missing or has a value that can't be taken.
    """
    try:
        return model.model_validate(_pick_values(model, request.form if values is None else values))
    except ValidationError as exc:
        problems = {str(error["loc"][0]): describe_value_error(dict(error)) for error in _list_errors(exc)}
        raise FormError(problems) from None


def read_query(model: type[Fields], values: MultiDict[str, str] | None = None) -> Fields:
    """Return the fields of the URL's query, or of `values`; a field that can't be read gets its default."""
    given = _pick_values(model, request.args if values is None else values)
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        unreadable = {error["loc"][0] for error in _list_errors(exc)}
    return model.model_validate({name: value for name, value in given.items() if name not in unreadable})


def _list_errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_input=False))


def _pick_values(model: type[PageFields], values: MultiDict[str, str]) -> dict[str, str | list[str]]:
    """Return the values of a model's fields: all of a list's, and the first one of any other."""
    picked: dict[str, str | list[str]] = {}
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        if name in values:
            picked[name] = values.getlist(name) if get_origin(field.annotation) is list else values[name]
    return picked


def refused_as_value(read: Callable[[str], str]) -> AfterValidator:
    """Check a field with a function that raises a `RefusalError`: its text is then the field's problem."""

    def check(text: str) -> str:
        try:
            return read(text)
        except RefusalError as exc:
            raise ValueError(str(exc)) from None

    return AfterValidator(check)


def _check_day(day: date) -> date:
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"Choose a day from {_FIRST_YEAR} on.")
    return day


def _strip_commas(value: object) -> object:
    return value.replace(",", "") if isinstance(value, str) else value


Reason = Annotated[str, refused_as_value(read_reason)]  # for the audit log: in one line, without an address
Day = Annotated[date, AfterValidator(_check_day)]  # such as 2026-06-16
Count = Annotated[int, BeforeValidator(_strip_commas), Field(ge=0, le=MAX_ROW_NUMBER)]  # "1,000" is 1000


class ReasonForm(PageFields):
    """A form that asks why."""

    reason: Reason = ""
