"""Names that are stored with imports.

The sandbox reads lists without loading the database, so they aren't in its models.
"""

PLAIN_LIST = "a file"  # the origin of a list that wasn't exported by a known service
FILE_OPTION = "file"  # the option that contains the name of the file
