"""Every SQL statement of the queue, one file a concern."""
