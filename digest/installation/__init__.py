"""The basis of every action: the open installation, roles and audit, the pause, and storage errors."""
