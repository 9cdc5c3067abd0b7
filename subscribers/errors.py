"""The root of all errors that the product raises on purpose."""


class ApplicationError(Exception):
    """An error that somebody can understand and act on.

    Its text says what failed, which thing it concerns and what to do; it never holds a reader's address. Where something other
    than the text shows what to do, as the doctor does, it stands apart in `remedy`, and `message` is the text without it.
    """

    can_retry: bool = False  # whether the same call may succeed later without anybody changing anything

    def __init__(self, message: str = "", *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message, self.remedy = message, remedy


class RefusalError(ApplicationError):
    """It answers no to what was asked, where other errors name something to set right first."""
