"""The table for uses of subscribers' addresses, kept until admins get their daily summary."""

from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import Str100, Str200
from subscribers.store.models import Base, Moment


class SubscriberAddressUseCount(Base):
    """The number of times that an actor has used addresses in a particular way, and since when.

    It doesn't identify subscribers.
    """

    __tablename__ = "address_use"

    words: Mapped[Str100] = mapped_column(primary_key=True)
    actor: Mapped[Str200] = mapped_column(primary_key=True)
    uses: Mapped[int]
    since: Mapped[Moment]
