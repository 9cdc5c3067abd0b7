"""The bounce mailbox, read over IMAP."""
