"""Benchmarks: `python -m bench [NAME ...]`. One benchmark a module; each starts a private server and processes of its own.

A machine's speed drifts while it is measured, so what is compared runs in turn (A B A B), and a ratio is one of medians
of the same run. The programs that benchmarks run beside themselves are in `roles`, shared parts in `figures`, `course`,
`processes`, `page` and `machine`.
"""
