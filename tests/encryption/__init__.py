"""Encrypted arguments: where the plain text may be, and what becomes of jobs when keys change."""
