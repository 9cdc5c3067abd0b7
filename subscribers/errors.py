"""The root of all errors that the product raises on purpose."""


class ApplicationError(Exception):
    """An error that people can understand and act on.

    `message` says what happened, and `remedy`, which begins with a verb, what to do. The text is both. It never contains a
    subscriber's address.
    """

    can_retry: bool = False  # whether the same call may succeed later without a change

    def __init__(self, message: str = "", remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message, self.remedy = message, remedy


class RefusalError(ApplicationError):
    """A request was refused, unlike errors about something that needs fixing first."""
