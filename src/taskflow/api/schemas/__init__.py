"""The JSON contract, one module a resource: what comes in, what goes out, and how the domain becomes the latter."""
