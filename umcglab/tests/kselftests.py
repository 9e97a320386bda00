# SPDX-License-Identifier: MIT
"""The patch that adds tools/testing/selftests/umcg, made of tests of the guest suite.

python -m umcglab.tests.kselftests    # bring the patch up to date with the suite

What is in the patch and not in the suite (its message, the Makefile) is edited there.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from umcglab.lab import config

PATCH = (
    "kernel-patches/umcg-v0.5/any/"
    "0009-selftests-umcg-test-what-a-server-and-a-worker-can-re.patch"
)
FOLDER = "tools/testing/selftests/umcg"
_SUITE = (
    "abi/umcg-v0.5/abi.h",
    "abi/umcg-v0.5/port.c",
    "abi/umcg-v0.5/tests/ctl.c",
    "harness/cpu_watch.c",
    "harness/cpu_watch.h",
    "harness/ktap.c",
    "harness/ktap.h",
    "kit/away.h",
    "kit/inject.c",
    "kit/inject.h",
    "kit/kit.h",
    "port/port.h",
    "port/shift.h",
    "state-word/block.c",
    "state-word/crew.h",
    "state-word/peer.h",
    "state-word/wait.c",
    "state-word/wake.c",
    "state-word/worker-run.c",
)
"""What of guest-tests is copied: the programs, and what they are built with."""


def files(patch: str) -> dict[str, str]:
    """Return the files that a patch adds to the folder, by name."""
    found = {}
    for section in re.split(r"^diff --git .*\n", patch, flags=re.M)[1:]:
        name = re.search(rf"^\+\+\+ b/{FOLDER}/(.*)\n@@ .*\n", section, re.M)
        assert name, section[:200]
        lines = section[name.end() :].splitlines(keepends=True)
        found[name[1]] = "".join(line.removeprefix("+") for line in lines)
    return found


def suite(root: Path) -> dict[str, str]:
    """Return what of the guest suite is copied, by name."""
    return {Path(f).name: (root / "guest-tests" / f).read_text() for f in _SUITE}


def renewed(patch: str, copies: Mapping[str, str]) -> str:
    """Return a patch with these files in place of those it has copied before."""
    message = patch[: patch.index("\n---\n")]
    diff = "".join(
        _added(f"{FOLDER}/{name}", text)
        for name, text in sorted({**files(patch), **copies}.items())
    )
    stat = subprocess.run(
        ["git", "apply", "--stat", "--summary"],
        input=diff,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    stat = "".join(f"{line.rstrip()}\n" for line in stat.splitlines())
    return f"{message}\n---\n{stat}\n{diff}"


def _added(name: str, text: str) -> str:
    """Return the part of a patch that adds a file."""
    data = text.encode()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    lines = text.splitlines(keepends=True)
    head = f"@@ -0,0 +1,{len(lines)} @@" if len(lines) > 1 else "@@ -0,0 +1 @@"
    return (
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n"
        f"index 0000000..{blob.hexdigest()[:7]}\n--- /dev/null\n+++ b/{name}\n{head}\n"
        + "".join(f"+{line}" for line in lines)
    )


if __name__ == "__main__":
    path = config.ROOT / PATCH
    path.write_text(renewed(path.read_text(), suite(config.ROOT)))
