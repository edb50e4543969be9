"""Trove, the database service."""
