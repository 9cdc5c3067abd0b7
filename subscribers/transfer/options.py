"""How the operator wants a file to be read."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, TypeAdapter
from pydantic.dataclasses import dataclass

from subscribers.transfer.formats import ColumnMeaning, ImportedSubscriberStatus


def _list_pairs(words: Any) -> Any:
    return tuple(words.items()) if isinstance(words, Mapping) else words


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How the operator wants a file to be read.

    `attest_reason` is the reason for which an admin vouches for rows without evidence (None: nobody does), `file_status`
    what every row is said to be, `need_network` asks that a confirmation names the network address it came from. `columns` are the
    meanings of all columns where they are not those that the headings say, `words` what unknown words of a status column mean,
    `tags` the keys of sections and topics that tags mean, `leave_out_slips` rejects rows whose domain is most likely mistyped.
    """

    attest_reason: str | None = Field(
        default=None, validation_alias=AliasChoices("attest_reason", "attest"), serialization_alias="attest"
    )
    file_status: ImportedSubscriberStatus | None = Field(
        default=None, validation_alias=AliasChoices("file_status", "whole"), serialization_alias="whole"
    )
    need_network: bool = False
    columns: tuple[ColumnMeaning, ...] = ()
    words: Annotated[
        tuple[tuple[str, ImportedSubscriberStatus], ...], BeforeValidator(_list_pairs), PlainSerializer(dict)
    ] = ()
    tags: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_list_pairs), PlainSerializer(dict)] = ()
    leave_out_slips: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what the batch keeps: a second run goes on only with the same options."""
        fields = _STORED.dump_python(self, mode="json", by_alias=True)
        return {name: value for name, value in fields.items() if value not in (None, False, [], {})}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ImportOptions":
        """Read what `as_json` gives.

        Raises:
            ValueError: a word in it means nothing.
        """
        return _STORED.validate_python(fields)


_STORED = TypeAdapter(ImportOptions)
