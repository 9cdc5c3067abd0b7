"""Pause, resume and cancel an edition; hold and release the installation."""
