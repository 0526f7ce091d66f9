"""Jobs that run together, one after the other, or as a batch."""
