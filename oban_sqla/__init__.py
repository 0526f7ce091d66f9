"""Oban for SQLAlchemy."""
