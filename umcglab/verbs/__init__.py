# SPDX-License-Identifier: MIT
"""The verbs of the command line: a module for each, which says what it takes.

Each has `HELP`, `arguments`, which adds to its parser, and `main`, which does it and
returns the exit status. What a verb alone needs is imported in its `main`: a whole second,
that `--help` and a mistake need not take.
"""
