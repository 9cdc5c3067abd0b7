"""Planning, composing, and sending deliveries: one message owed to one person, assembled from approved fragments."""
