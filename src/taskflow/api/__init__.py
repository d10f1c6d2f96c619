"""The HTTP API: one file per resource, `schemas` is the JSON contract, `samples` show it at work, `app` puts them together."""
