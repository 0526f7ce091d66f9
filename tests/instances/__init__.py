"""Instances of mapped classes as arguments of jobs."""
