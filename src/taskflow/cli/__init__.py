"""The command line. One noun a file; what is heavy is imported inside the commands, so that `--help` answers at once.

Exit codes: 0 done; 1 it failed, and one line on standard error says why; 2 the command was not understood; 130 Ctrl-C.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process, and end with the exit code."""
    from taskflow.cli.program import program, with_global_options_first

    program(with_global_options_first(sys.argv[1:]), prog_name="taskflow")
