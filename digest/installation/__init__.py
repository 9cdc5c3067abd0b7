"""The foundation of all actions: the open installation, roles and audit, pausing, and storage errors."""
