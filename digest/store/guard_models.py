"""The table of actions that touched subscriber addresses, until admins get their daily summary."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.models import Base, Moment


class AddressUse(Base):
    """How often somebody did one kind of thing with addresses, and since when. It names no subscriber."""

    __tablename__ = "address_use"

    words: Mapped[str] = mapped_column(String(100), primary_key=True)
    actor: Mapped[str] = mapped_column(String(200), primary_key=True)
    uses: Mapped[int]
    since: Mapped[Moment]
