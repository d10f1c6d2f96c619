"""Handlers that come with TaskFlow."""
