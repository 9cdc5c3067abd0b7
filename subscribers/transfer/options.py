"""The options of an import, which are stored along with it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, TypeAdapter
from pydantic.dataclasses import dataclass

from subscribers.transfer.formats import ColumnMeaning, ImportedSubscriberStatus


def _list_pairs(words: Any) -> Any:
    return tuple(words.items()) if isinstance(words, Mapping) else words


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The operator's options for reading a file.

    With `attest_reason`, an admin vouches for rows without evidence. `file_status` is the status of
    every row. `need_network` requires confirmations to have an IP address. `columns` are the
    meanings of all columns if they differ from those of the headings. `words` are the meanings of
    unknown status words, and `tags` are the keys of sections and topics by tag. `leave_out_slips`
    rejects rows whose domain is probably mistyped.
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
        """Return the options in the form stored with the batch.

        A second run only continues with the same options.
        """
        fields = _STORED.dump_python(self, mode="json", by_alias=True)
        return {name: value for name, value in fields.items() if value not in (None, False, [], {})}


_STORED = TypeAdapter(ImportOptions)
