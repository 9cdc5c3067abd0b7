"""SMTP (RFC 5321, section 3)."""
