"""The bytes of a message: approved fragments, one reader's values, headers and signature."""
