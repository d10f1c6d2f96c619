"""The use cases: the HTTP API, the dashboard and the command line are three doors to the same rooms."""
