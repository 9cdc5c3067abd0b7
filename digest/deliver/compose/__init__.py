"""The bytes of a message: approved fragments, a subscriber's values, headers, and signatures."""
