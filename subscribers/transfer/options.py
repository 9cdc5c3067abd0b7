"""How the operator wants a file to be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from subscribers.transfer.formats import ColumnMeaning, RowStatus


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How the operator wants a file to be read.

    `attest_reason` is the reason for which an admin vouches for rows without evidence (None: nobody does), `file_status`
    what every row is said to be, `need_network` asks that a confirmation names the network address it came from. `columns` are the
    meanings of all columns where they are not those that the headings say, `words` what unknown words of a status column mean,
    `leave_out_slips` rejects rows whose domain is most likely mistyped.
    """

    attest_reason: str | None = None
    file_status: RowStatus | None = None
    need_network: bool = False
    columns: tuple[ColumnMeaning, ...] = ()
    words: tuple[tuple[str, RowStatus], ...] = ()
    leave_out_slips: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what the batch keeps: a second run goes on only with the same options."""
        fields: dict[str, Any] = {}
        if self.attest_reason is not None:
            fields["attest"] = self.attest_reason
        if self.file_status is not None:
            fields["whole"] = str(self.file_status)
        if self.need_network:
            fields["need_network"] = True
        if self.columns:
            fields["columns"] = [str(meaning) for meaning in self.columns]
        if self.words:
            fields["words"] = {word: str(status) for word, status in self.words}
        if self.leave_out_slips:
            fields["leave_out_slips"] = True
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `as_json` gives.

        Raises:
            ValueError: a word in it means nothing.
        """
        return cls(
            fields.get("attest"),
            RowStatus(fields["whole"]) if "whole" in fields else None,
            fields.get("need_network", False),
            tuple(map(ColumnMeaning, fields.get("columns", ()))),
            tuple((word, RowStatus(status)) for word, status in fields.get("words", {}).items()),
            fields.get("leave_out_slips", False),
        )
