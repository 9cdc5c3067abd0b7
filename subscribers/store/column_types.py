"""Column types shared by many tables, for use in `Mapped[…]`."""

from collections.abc import Callable
from typing import Annotated, Any

from sqlalchemy import Integer, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import mapped_column


class DamageTolerantInteger(Integer):
    """An integer column that reads values of other types as 0.

    SQLite stores any type in a column. Because of this type, one damaged row doesn't prevent the
    others from being read. Nothing becomes less secure, because someone who can write text there
    can also write 0. `digest doctor` lists the rows.
    """

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,
    ) -> Callable[[Any], int | None] | None:
        """Return a processor for values read from SQLite.

        PostgreSQL only stores integers.
        """
        return _read_integer if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _read_integer(value: Any) -> int | None:
    return value if value is None or type(value) is int else 0


RowId = Annotated[int, mapped_column(primary_key=True)]
Str10 = Annotated[str, mapped_column(String(10))]
Str16 = Annotated[str, mapped_column(String(16))]
Str20 = Annotated[str, mapped_column(String(20))]
Str26 = Annotated[str, mapped_column(String(26))]
Str32 = Annotated[str, mapped_column(String(32))]
Str40 = Annotated[str, mapped_column(String(40))]
Str60 = Annotated[str, mapped_column(String(60))]
Str64 = Annotated[str, mapped_column(String(64))]
Str80 = Annotated[str, mapped_column(String(80))]
Str100 = Annotated[str, mapped_column(String(100))]
Str200 = Annotated[str, mapped_column(String(200))]
