"""What comes back: stored payloads and the bounce mailbox."""
