# SPDX-License-Identifier: MIT
"""Run the host's programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.host import files

# A parent that dies must not leave a compiler or a download behind.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for tools: ours, in English, plus `extra`.

    Without what git sets for hooks: it would name another repository.
    """
    ours = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return {**ours, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **(extra or {})}


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its status; InfraError if there is none."""
    need(argv[0])
    return subprocess.run(
        [*DIE_WITH_PARENT, *argv],
        cwd=cwd,
        env=environment(env),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )


def output(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program that must succeed; return what it printed."""
    done = run(argv, cwd=cwd, env=env, stdin=stdin)
    if done.returncode:
        raise failure(argv, done)
    return done.stdout


def failure(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> InfraError:
    """Return an error that says what ran and the last thing it said."""
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    why = said[-1] if said else f"exit status {done.returncode}"
    if line := files.full(done.stderr):
        return InfraError(f"{argv[0]} failed: {line}", hint=files.room())
    return InfraError(f"{argv[0]} failed: {why}", hint=shlex.join(argv))


def need(program: str) -> None:
    """Raise InfraError unless `program` can be run."""
    if shutil.which(program) is None:
        raise InfraError(
            f"{program} is not installed",
            hint="umcglab/setup/setup.sh installs what the lab needs",
        )
