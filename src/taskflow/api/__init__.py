"""The HTTP API: one file per resource, `schemas` is the JSON contract, `app` puts them together."""
