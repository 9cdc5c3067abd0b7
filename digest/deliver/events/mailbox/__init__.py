"""The bounce mailbox, which is read over IMAP."""
