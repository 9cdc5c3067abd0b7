"""Base classes of all errors that the product raises deliberately."""


class ApplicationError(Exception):
    """Base class of errors that people can understand and act on.

    `message` says what happened, and `remedy`, which begins with a verb, says what to do. `str()`
    returns both. They never contain the address of a subscriber.
    """

    can_retry: bool = False  # whether the same call may succeed later without any change

    def __init__(self, message: str = "", remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message, self.remedy = message, remedy


class RefusalError(ApplicationError):
    """Raised when a request is refused, as opposed to when a problem has to be fixed first."""
