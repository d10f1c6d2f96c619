"""One process that runs tasks, and its parts: one noun a module."""
