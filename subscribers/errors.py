"""The root of all errors that the product raises on purpose."""


class ApplicationError(Exception):
    """An error that somebody can understand and act on.

    Its message says what failed, which thing it concerns and what to do; it never holds a reader's address.
    """

    can_retry: bool = False  # whether the same call may succeed later without anybody changing anything


class RefusalError(ApplicationError):
    """It answers no to what was asked, where other errors name something to set right first."""
