"""The places in a rendered edition that sending fills in for one reader.

A placeholder is made of characters that need no escaping in HTML, in a URL or in quoted-printable, so that it
comes through rendering and inlining unchanged. A provider that fills them itself gets the same placeholders.
"""

LEAVE_PLACEHOLDER = "~leave-token~"  # the reader's one-click token, 22 characters, after `/u/`
PREFERENCES_PLACEHOLDER = "~preferences-token~"  # the reader's token after `/preferences/`
# "March 4, 2026, at hls.today": when and where the reader asked for the mail.
SIGNUP_ORIGIN_PLACEHOLDER = "~asked-for-it~"
SIGNUP_HTML_PLACEHOLDER = "~asked-for-it-html~"  # takes its place in HTML parts, where the words are escaped

ALL_PLACEHOLDERS = (LEAVE_PLACEHOLDER, PREFERENCES_PLACEHOLDER, SIGNUP_ORIGIN_PLACEHOLDER, SIGNUP_HTML_PLACEHOLDER)
