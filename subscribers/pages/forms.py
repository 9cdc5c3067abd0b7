"""Parsing forms with pydantic.

A model declares the fields, and each problem is shown next to its field.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.datastructures import MultiDict

from subscribers.errors import RefusalError


class FormError(RefusalError):
    """Raised when fields are invalid.

    `problems` maps the names of the fields to sentences. `at` is the first of these fields, and
    `words` is its sentence.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        self.at, self.words = next(iter(self.problems.items()))
        super().__init__(" ".join(self.problems.values()))


class FormModel(BaseModel):
    """The base class of forms.

    Unknown fields are ignored.
    """

    model_config = ConfigDict(frozen=True)


Fields = TypeVar("Fields", bound=FormModel)
DescribeError = Callable[[Mapping[str, Any]], str]  # returns the text for one of pydantic's errors


def _read_own_words(error: Mapping[str, Any]) -> str:
    """Return the text of the ValueError that a validator raised."""
    return str(error["ctx"]["error"])


def read_form(
    model: type[Fields],
    values: MultiDict[str, str],
    describe: DescribeError = _read_own_words,
) -> Fields:
    """Parse a submitted form into its model.

    Raises:
        FormError: a field is missing or invalid.
    """
    try:
        return model.model_validate(pick_values(model, values))
    except ValidationError as exc:
        problems = {str(error["loc"][0]): describe(error) for error in list_errors(exc)}
        raise FormError(problems) from None


def list_errors(error: ValidationError) -> list[Any]:
    """Return pydantic's errors without the invalid values, which may be addresses."""
    return list(error.errors(include_url=False, include_input=False))


def pick_values(
    model: type[FormModel],
    values: MultiDict[str, str],
) -> dict[str, str | list[str]]:
    """Return the values of a model's fields: all values for list fields, and the first value for others."""
    picked: dict[str, str | list[str]] = {}
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        if name in values:
            picked[name] = values.getlist(name) if get_origin(field.annotation) is list else values[name]
    return picked
