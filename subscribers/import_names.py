"""Names that imports store about themselves, also for modules that don't load the database."""

PLAIN_LIST = "a file"  # the origin of a list that no known service exported
FILE_OPTION = "file"  # the option that holds the name of the file
