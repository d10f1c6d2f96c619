"""Programs that benchmarks run as processes of their own: `python -m bench.roles.NAME SPEC`, with a JSON description.

They answer on standard output, one JSON object a line.
"""
