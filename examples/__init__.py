"""Programs as a user would write them. The tests run each of them as a process of its own."""
