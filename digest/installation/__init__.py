"""What every action needs: the open installation, actions with role and audit, the pause, and storage errors."""
