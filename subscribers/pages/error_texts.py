"""What a page says where something went wrong: what, and what to do; readers see it in their language."""

from subscribers.reader_language import mark_message

ERROR_TEXTS = {
    400: (
        mark_message("This request cannot be read"),
        mark_message("Go back, and try it again from the page it came from."),
    ),
    404: (
        mark_message("There is no such page"),
        mark_message("The address may be cut off or mistyped, or the edition is not out yet."),
    ),
    405: (
        mark_message("This page cannot do that"),
        mark_message("It can be opened, but not in this way. Start from the list of editions."),
    ),
    413: (
        mark_message("That was too much"),
        mark_message("The form is longer than we accept. Shorten it, and send it again."),
    ),
    500: (
        mark_message("Something broke on our side"),
        mark_message("Try again in a few minutes. A note of the fault, without your name, is kept."),
    ),
}
OTHER_ERROR_ADVICE = mark_message("Start again from the list of editions.")
