"""The actions of the application, one function per use case, called by the command line, desk, and scheduler."""
