"""Planning, composing, and sending deliveries.

A delivery is one message owed to one person. Its message is assembled from approved fragments.
"""
