"""What a story's form says of its picture: which one to show, an uploaded file, its description and credit."""

from collections.abc import Mapping
from dataclasses import dataclass

from werkzeug.datastructures import FileStorage

from digest.app.editing import edition_pictures
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditRefusedError
from digest.installation.opened import Installation


@dataclass(frozen=True, slots=True)
class PictureForm:
    """The picture's part of a story's form.

    `choice` is "shown" (the one that stands), "none", "original" (the story's own), "upload", or the address of an article.
    `was_alt` and `was_credit` are the words that stood when the page was made. `body` is the uploaded file, empty without one.
    """

    choice: str
    alt: str
    credit: str
    was_alt: str
    was_credit: str
    body: bytes

    @property
    def is_untouched(self) -> bool:
        """Whether it says what stood when the page was made."""
        return self.choice == "shown" and not self.body and (self.alt, self.credit) == (self.was_alt, self.was_credit)


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """A picture that could not be saved, for the page to show beside what was typed: of which story, and why."""

    anchor: str
    form: PictureForm
    why: str


def read_picture_form(fields: Mapping[str, str], files: Mapping[str, FileStorage]) -> PictureForm | None:
    """Read the picture's part of a story's form; None where the form has none."""
    if "picture" not in fields:
        return None
    file = files.get("file")
    return PictureForm(
        choice=fields["picture"],
        alt=fields.get("alt", ""),
        credit=fields.get("credit", ""),
        was_alt=fields.get("was-alt", ""),
        was_credit=fields.get("was-credit", ""),
        body=file.read() if file else b"",
    )


def change_picture(installation: Installation, form: EditForm, url: str, picture: PictureForm) -> EditResult:
    """Do what a form says of a story's picture. An uploaded file is what is wanted, unless another choice contradicts it.

    Raises:
        EditRefusedError: it contradicts itself, or the picture cannot be had or used.
    """
    words = {"alt": picture.alt, "credit": picture.credit}
    if picture.body and picture.choice not in {"shown", "upload"}:
        raise EditRefusedError("A file was chosen, and another picture or none as well. Choose one of the two.")
    if picture.body:
        return edition_pictures.upload_picture(installation, form, url, picture.body, **words)
    match picture.choice:
        case "none":
            return edition_pictures.hide_picture(installation, form, url)
        case "original":
            return edition_pictures.reset_picture(installation, form, url)
        case "upload":
            raise EditRefusedError("No file came with it. Choose the file to upload.")
        case "shown":
            return edition_pictures.describe_picture(installation, form, url, **words)
    return edition_pictures.show_article_picture(installation, form, url, article=picture.choice)


def explain_refusal(error: EditRefusedError, picture: PictureForm) -> str:
    """Say that the picture was not saved, why, and that a browser gives a file back only when it is chosen again."""
    again = " Then choose the file again: it was not kept." if picture.body else ""
    return f"The picture was not saved. {error}{again}"
