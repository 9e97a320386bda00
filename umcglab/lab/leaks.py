# SPDX-License-Identifier: MIT
"""Memory leaks of the kernel: a kmemleak scan after the last test of a guest."""

from __future__ import annotations

from umcglab.lab.manifest import Program

FILE = "/sys/kernel/debug/kmemleak"

# How many scans in a row must find an object unreferenced. Linux before 7.3 has one,
# and no such parameter.
UNREFERENCED = "/sys/module/kmemleak/parameters/min_unref_scans"

# An object younger than 5 s is never reported, and none before a scan has found it as
# the one before left it: hence one scan more than that. That kmemleak gave up shows in
# `echo scan` failing; what it found has the program that allocated it and the stack.
_SCRIPT = f"""\
echo 'KTAP version 1'; echo 1..1; echo '# RUN nothing_is_lost'
sleep 6
left=$(cat {UNREFERENCED} 2>/dev/null || echo 1)
while [ "$left" -ge 0 ] && echo scan >{FILE}; do left=$((left - 1)); done 2>&1
if [ "$left" -lt 0 ] && found=$(cat {FILE}) && [ -z "$found" ]
then echo 'ok 1 nothing_is_lost'; exit 0
fi 2>&1
echo "$found" | sed 's/^/# /'; echo 'not ok 1 nothing_is_lost'; exit 1"""

PROGRAM = Program(
    name="kernel/kmemleak",
    kind="test",
    argv=("sh", "-c", _SCRIPT),
    tests=("nothing_is_lost",),
    timeout=120,
)
"""The last program of a target whose kernel has kmemleak."""
