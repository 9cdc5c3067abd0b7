"""Names stored with imports. The sandbox reads lists without loading the database, so they aren't among its models."""

PLAIN_LIST = "a file"  # the origin of a list that no known service exported
FILE_OPTION = "file"  # the option that holds the name of the file
