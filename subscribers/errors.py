"""The root of all errors that the product raises on purpose."""

from typing import ClassVar


class ApplicationError(Exception):
    """An error that somebody can understand and act on.

    Its message says what failed, which thing it concerns and what to do; it never holds a reader's address.
    """

    is_refusal: ClassVar[bool] = False
    """Whether it answers no to what was asked, where other errors name something to set right first."""

    @property
    def can_retry(self) -> bool:
        """Whether the same call may succeed later without anybody changing anything."""
        return False
