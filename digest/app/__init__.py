"""What can be done: one function a use case, called by the command line, the desk and the scheduler."""
