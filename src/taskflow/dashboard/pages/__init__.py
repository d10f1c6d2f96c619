"""The pages, a module each: `HANDLERS` are its routes."""
