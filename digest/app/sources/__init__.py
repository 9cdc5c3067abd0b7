"""The sources: what they deliver, their health, and editions from before this installation."""
