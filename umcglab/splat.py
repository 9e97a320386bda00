# SPDX-License-Identifier: MIT
"""Find what a kernel says on its console when something is wrong.

A splat that leaves the guest running leaves every exit status 0, so console
text is scanned after each program, and waits on the console listen for
`BAD_NEWS`. Adding a kind is adding a row to `KINDS` and a sample to the tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Splat:
    """One finding; `line` (from 1) is where it starts in the text scanned."""

    kind: str
    line: int
    text: str
    """The first line that says what is wrong, without its timestamp."""
    excerpt: str
    """From the banner before it to the end of its trace."""
    functions: tuple[str, ...]
    """Where it happened, innermost first, unreliable frames left out."""


# Matched at the start of a console line, after the timestamp; the first row
# that matches names the finding. Wordings are those of 6.12, and of 6.1 where
# they differ.
KINDS: tuple[tuple[str, str], ...] = (
    ("panic", r"Kernel panic - not syncing"),
    ("kasan", r"BUG: KASAN:"),
    ("kcsan", r"BUG: KCSAN:"),
    ("kmsan", r"BUG: KMSAN:"),
    ("kfence", r"BUG: KFENCE:"),
    ("ubsan", r"UBSAN: "),
    ("soft-lockup", r"watchdog: BUG: soft lockup"),
    ("hard-lockup", r"(?:NMI )?watchdog: (?:CPU\d+: )?Watchdog detected hard LOCKUP"),
    ("workqueue-lockup", r"BUG: workqueue lockup"),
    ("atomic-sleep", r"BUG: scheduling while atomic"),
    ("atomic-sleep", r"BUG: sleeping function called from invalid context"),
    ("atomic-sleep", r"BUG: (?:assuming|scheduling in a) \S+"),
    ("atomic-sleep", r"BUG: workqueue leaked"),
    ("atomic-sleep", r"(?:softirq: )?huh, entered softirq"),
    ("preemptible", r"BUG: using \S+ in preemptible"),
    ("spinlock", r"BUG: (?:spinlock|rwlock) "),
    ("slab", r"BUG \S+ \([^)]*\): "),
    ("page", r"BUG: (?:Bad (?:page|rss-counter)|non-zero pgtables_bytes)"),
    ("oops", r"BUG: (?:unable to handle|kernel NULL pointer|TASK stack guard)"),
    ("oops", r"Unable to handle kernel "),
    ("oops", r"Internal error: "),
    ("oops", r"\S.*: [0-9a-f]{4,16} \[#\d+\]"),
    ("oops", r"(?:traps: )?PANIC: double fault"),
    ("oops", r"Insufficient stack space to handle exception"),
    ("oops", r"(?:Unhandled \S+ exception|SError Interrupt) on CPU"),
    ("bug", r"kernel BUG (?:at |in )"),
    ("lockdep", r"WARNING: (?:possible (?:circular|recursive|irq lock)|chain_key)"),
    ("lockdep", r"WARNING: \S+-safe -> \S+-unsafe lock order detected"),
    ("lockdep", r"WARNING: (?:inconsistent lock state|Nested lock was not taken)"),
    ("lockdep", r"WARNING: (?:bad (?:unlock balance|contention)|held lock freed)"),
    ("lockdep", r"WARNING: (?:.* still has locks held|lock held (?:when|at))"),
    ("lockdep", r"WARNING: suspicious RCU usage"),
    ("lockdep", r"\[ BUG: "),
    ("lockdep", r"INFO: trying to register non-static key"),
    ("lockdep-off", r"BUG: (?:MAX_\w+|looking up invalid subclass|key \S+ has not)"),
    ("lockdep-off", r"turning off the locking correctness validator"),
    ("refcount", r"refcount_t: "),
    ("list-corruption", r"list_(?:add|del) (?:corruption|double add)"),
    ("odebug", r"ODEBUG: (?!selftest)"),
    ("kmemleak", r"kmemleak: \d+ new suspected memory leaks"),
    ("hung-task", r"INFO: task .* blocked (?:in I/O wait )?for more than \d+ sec"),
    ("rcu-stall", r"(?:rcu: |rcu-tasks?: )?INFO: .*(?:self-)?detected .*stall"),
    ("rcu-stall", r"(?:rcu: )?\S+ kthread (?:starved for|timer wakeup didn't)"),
    ("warning", r"WARNING: CPU: \d+ PID: \d+ "),
    ("warning", r"WARNING: (?:kernel stack|stack recursion|can't access registers)"),
    ("bug", r"BUG: "),
)

# What may stand before the message: a timestamp, perhaps the caller, and
# before those whatever a program left on the line without ending it.
_PREFIX = r"(?:.*\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])?(?: |$))?"

PANIC = r"Kernel panic - not syncing"
"""After this the guest does not come back."""

BAD_NEWS = rf"(?m)^{_PREFIX}(?:{'|'.join(pattern for _, pattern in KINDS)})"
"""Any of `KINDS`, for waits on the console beside the good news."""

_ROWS = tuple((kind, re.compile(pattern)) for kind, pattern in KINDS)
_STAMP = re.compile(_PREFIX)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CUT = re.compile(r"-+\[ cut here \]-+")
_BANNER = re.compile(r"={20,}$")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_TRACE = re.compile(r"Call [Tt]race:")
_FRAME = re.compile(r" +(\? )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_PC = re.compile(r"(?:RIP: [0-9a-f]+:|pc : )([A-Za-z_][\w.]*)\+0x")
_SYMBOL = re.compile(r" ([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")

_BEFORE = 3  # lines before a diagnostic where its banner may be
_SAME = 12  # lines within which a second diagnostic belongs to the first
_MOST = 120  # lines of one finding; a lockdep chain can take a hundred
_BARE = 6  # lines kept of a finding that brings no trace


def scan(text: str) -> tuple[Splat, ...]:
    """Return the findings in console text, in order."""
    lines = [_clean(line) for line in text.split("\n")]
    kinds = [_kind(line) for line in lines]
    found: list[Splat] = []
    done = at = 0
    while at < len(lines):
        kind = kinds[at] or _unexplained(lines, kinds, at)
        if kind is None:
            at += 1
            continue
        start, end = _start(lines, at, done), _end(lines, kinds, at)
        found.append(
            Splat(
                kind=kind,
                line=start + 1,
                text=lines[at],
                excerpt="\n".join(lines[start:end]),
                functions=_functions(lines[at:end]),
            )
        )
        done = at = end
    return tuple(found)


def _clean(line: str) -> str:
    """Strip terminal escapes, timestamp and line ending, not the indentation."""
    line = _ESCAPE.sub("", line.rstrip("\r\n"))
    match = _STAMP.match(line)
    return line[match.end() if match else 0 :].rstrip()


def _kind(line: str) -> str | None:
    return next((kind for kind, pattern in _ROWS if pattern.match(line)), None)


def _unexplained(
    lines: Sequence[str], kinds: Sequence[str | None], at: int
) -> str | None:
    """Return a kind for a `cut here` whose diagnostic never came."""
    if _CUT.match(lines[at]) and not any(kinds[at + 1 : at + _SAME]):
        return "cut-short"
    return None


def _start(lines: Sequence[str], at: int, done: int) -> int:
    for line in range(at - 1, max(at - _BEFORE, done) - 1, -1):
        if _CUT.match(lines[line]) or _BANNER.match(lines[line]):
            return line
    return at


def _end(lines: Sequence[str], kinds: Sequence[str | None], at: int) -> int:
    """Return the line after the finding whose diagnostic is at `at`."""
    last_frame = None
    here = at
    for here in range(at + 1, min(at + _MOST, len(lines))):
        line = lines[here]
        near = last_frame is None and here - at <= _SAME
        if _END.match(line):
            return here + 1
        if _BANNER.match(line):
            opens_another = any(kinds[here + 1 : here + 3])
            return here if opens_another else here + 1
        if kinds[here] and not near:
            break
        if _CUT.match(line) and not (near and here - at <= _BEFORE):
            break
        if _TRACE.match(line):
            last_frame = here
        elif last_frame is not None and (_FRAME.match(line) or "</TASK>" in line):
            last_frame = here
    else:
        here += 1
    return min(at + _BARE, here) if last_frame is None else last_frame + 1


def _functions(lines: Sequence[str]) -> tuple[str, ...]:
    """Return where it happened: the diagnostic's own symbol, then the first trace."""
    names = _SYMBOL.findall(lines[0])
    in_trace = False
    for line in lines[1:]:
        if _TRACE.match(line):
            in_trace = True
        elif in_trace and (line.strip() == "</TASK>" or line.endswith(":")):
            break
        elif match := _PC.match(line):
            names.append(match[1])
        elif in_trace and (frame := _FRAME.match(line)) and not frame[1]:
            names.append(frame[2])
    return tuple(dict.fromkeys(names))
