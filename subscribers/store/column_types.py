"""Column types that many tables share, for `Mapped[…]`."""

from typing import Annotated

from sqlalchemy import String
from sqlalchemy.orm import mapped_column

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
