# SPDX-License-Identifier: MIT
"""Entry point: the only place that prints errors and chooses the exit status."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import tempfile
import traceback
from typing import Any

INTERRUPTED = 130
"""Exit status after SIGINT or SIGTERM, as a shell has it."""
NOBODY_READS = 141
"""Exit status after SIGPIPE, as a shell has it."""


def main() -> int:
    """Run the command line; see `umcglab --help` for the exit status."""
    _open_streams()
    # It tells of its font cache, which is no concern of whoever reads ours.
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    status = 3
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        _mute()
        return NOBODY_READS
    except OSError as e:
        # Only what could not be printed: what else failed in _run is told there.
        _Output.failure = e
    # argparse goes on when it cannot print.
    if (failure := _Output.failure) is None:
        return status
    _mute()
    _tell(f"cannot write the output: {failure.strerror}")
    return 3


class _Output(io.FileIO):
    """The file behind standard output, which remembers that it failed."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as e:
            _Output.failure = e
            raise


class _Errors(io.FileIO):
    """The file behind standard error, of which nothing depends on being read."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def _run() -> int:
    """Return the status of the command line, whatever it raises."""
    # Here, so that what goes wrong while it loads is told as well.
    try:
        from umcglab import cli
        from umcglab.errors import LabError
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED
    except Exception as e:
        return _bug(e)
    try:
        return cli.main(sys.argv[1:])
    except LabError as e:
        _tell("\n".join(e.lines()))
        return e.exit_code
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 0
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as e:
        if e is _Output.failure:
            raise
        return _bug(e)


def _bug(e: Exception) -> int:
    """Say in one line what nobody foresaw, and where all of it is written."""
    what = f"{type(e).__name__}: {e}".splitlines()[0][:500]
    if isinstance(e, OSError) and e.strerror:
        what = f"{e.filename}: {e.strerror}" if e.filename else e.strerror
    else:
        what = f"a bug in umcglab, {what}"
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        _tell(f"{what}\n  try: make room: df -h; umcglab clean empties the cache")
        return 3
    where = "its traceback could not be written"
    with contextlib.suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="umcglab-", suffix=".traceback")
        with os.fdopen(handle, "w", errors="backslashreplace") as out:
            traceback.print_exception(e, file=out)
        where = f"the traceback is in {path}"
    _tell(f"{what}; {where}")
    return 3


def _tell(text: str) -> None:
    """Print to standard error, if somebody reads that."""
    with contextlib.suppress(OSError):
        print(f"umcglab: {text}", file=sys.stderr, flush=True)


def _open_streams() -> None:
    """Give every standard stream a file, and one that takes any character.

    A stream that the caller closed would be the next file that is opened, and
    what we print would go into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    # Not what a test has put there.
    if sys.stdout is sys.__stdout__:
        is_terminal = os.isatty(1)
        out = io.BufferedWriter(_Output(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(out, line_buffering=is_terminal)
    if sys.stderr is sys.__stderr__:
        err = io.BufferedWriter(_Errors(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(err, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _mute() -> None:
    """Let nothing fail that the interpreter flushes when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
