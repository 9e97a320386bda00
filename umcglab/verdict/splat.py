# SPDX-License-Identifier: MIT
"""Find what a kernel says on its console when something is wrong.

A splat that leaves the guest running leaves every exit status 0, so console
text is scanned after each program, and waits on the console listen for
`BAD_NEWS`. Adding a kind is adding a row to `KINDS` and a sample to the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
# that matches names the finding. Wordings are those of 6.12, and of 6.1 and
# 6.18 where they differ.
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
    ("hung-task", r"INFO: task.* blocked (?:in I/O wait )?for more than \d+ sec"),
    ("rcu-stall", r"(?:rcu: |rcu-tasks?: )?INFO: .*(?:self-)?detected .*stall"),
    ("rcu-stall", r"(?:rcu: )?\S+ kthread (?:starved for|timer wakeup didn't)"),
    ("warning", r"WARNING: CPU: \d+ PID: \d+ "),
    ("warning", r"WARNING: (?:\S+:\d+ )?at .*CPU#\d+: "),
    ("warning", r"WARNING: (?:kernel stack|stack recursion|can't access registers)"),
    ("bug", r"BUG: "),
)

# What may stand before the message: a timestamp, perhaps the caller, and
# before those whatever a program left on the line without ending it. A console
# writes the caller close to the time, dmesg and journalctl leave a blank.
_PREFIX = r"(?:.*\[ *\d+\.\d{6}\](?: ?\[ *[TC]\d+\])?(?: |$))?"

PANIC = r"Kernel panic - not syncing"
"""After this the guest does not come back."""

BAD_NEWS = rf"(?m)^{_PREFIX}(?:{'|'.join(pattern for _, pattern in KINDS)})"
"""Any of `KINDS`, for waits on the console beside the good news."""

_ROWS = tuple((kind, re.compile(pattern)) for kind, pattern in KINDS)
_ANY_ROW = re.compile("|".join(pattern for _, pattern in KINDS))
_STAMP = re.compile(r".*\[ *\d+\.\d{6}\](?: ?\[ *([TC]\d+)\])?(?: |$)")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CUT = re.compile(r"-+\[ cut here \]-+")
_BANNER = re.compile(r"={20,}$")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_TRACE = re.compile(r"Call [Tt]race:")
_FRAME = re.compile(r" +(\? )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_PC = re.compile(r"(?:RIP: [0-9a-f]+:|pc : )([A-Za-z_][\w.]*)\+0x")
_SYMBOL = re.compile(r" ([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_REGISTER = re.compile(
    r"(?:pstate|pc|lr|sp|pmr_save|x\d+) ?: |[RCDEF][A-Z0-9]{1,4}: |Code: |RIP: "
)
_LINK = re.compile(r"-> #\d+ ")
# What an architecture says second about a fault that has its first line already.
_SECOND = re.compile(r"Internal error: |\S.*: [0-9a-f]{4,16} \[#\d+\]")
_HUNG = re.compile(r"INFO: task(?: |$)")
_SENDS_NMI = re.compile(r"Sending NMI from CPU \d+ to CPUs ")
_NMI = re.compile(r"NMI backtrace for cpu \d")
_GP_STACK = re.compile(r"rcu: RCU grace-period kthread stack dump:")
_NAMED = re.compile(r"BUG: KCSAN: .* in ([A-Za-z_][\w.]*)(?: / ([A-Za-z_][\w.]*))?$")
_ENTRY = re.compile(r"asm_(?:sysvec_\w+|common_interrupt|exc_\w+)|el1h?_(?:64_)?irq$")
_SCHEDULER = re.compile(
    r"__schedule$|schedule$|(?:__)?preempt_schedule|\w*cond_resched"
)

_BEFORE = 3  # lines before a diagnostic where its banner may be
_SAME = 12  # lines within which a second diagnostic belongs to the first
_MOST = 120  # lines a finding goes on without a frame, a register, or a lock's link
_BARE = 6  # lines kept of a finding that brings no trace
_LONGEST = 2048  # characters of a line; a record of the kernel's ends at 1024
_NAME_LINES = 15  # more newlines than this the name of a task cannot hold

# Kinds whose first trace follows its heading, without `Call Trace:`.
_BARE_TRACE = ("kcsan", "kfence", "kmsan")


def scan(text: str) -> tuple[Splat, ...]:
    """Return the findings in console text, in order.

    Where the kernel says who prints a line, each caller is read by itself: what
    two CPUs say at a time is mixed on the console.
    """
    found = [splat for lines in _callers(text) for splat in _scan(lines)]
    return tuple(sorted(found, key=lambda splat: splat.line))


_Line = tuple[int, str]
"""A line's number, from 1, and what it says."""


def _callers(text: str) -> list[list[_Line]]:
    """Return the lines of each caller; those without a mark are of one.

    A CPU that another asks for its backtrace answers in that one's report.
    """
    lines: dict[str, list[_Line]] = {}
    answers: dict[str, str] = {}
    asker = ""
    for number, raw in enumerate(text.split("\n"), 1):
        caller, line = _clean(raw)
        if _SENDS_NMI.match(line):
            asker = caller
        elif asker and caller not in ("", asker) and _NMI.match(line):
            answers[caller] = asker
        elif caller in answers and (_CUT.match(line) or _BANNER.match(line)):
            del answers[caller]
        elif caller in answers and _kind(line):
            del answers[caller]
        lines.setdefault(answers.get(caller, caller), []).append((number, line))
    return list(lines.values())


def _scan(numbered: Sequence[_Line]) -> list[Splat]:
    """Return the findings in the lines of one caller."""
    lines = [line for _, line in numbered]
    kinds = [_kind(line) for line in lines]
    whole = dict(_hung(lines))
    for at in whole:
        kinds[at] = "hung-task"
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
                line=numbered[start][0],
                text=whole.get(at, lines[at]),
                excerpt="\n".join(lines[start:end]),
                functions=_functions(kind, lines[at:end]),
            )
        )
        done = at = end
    return found


def _clean(line: str) -> tuple[str, str]:
    """Return a line's caller, and its words with their indentation."""
    line = _ESCAPE.sub("", line[:_LONGEST].rstrip("\r\n"))
    match = _STAMP.match(line)
    if not match:
        return "", line.rstrip()
    return match[1] or "", line[match.end() :].rstrip()


def _kind(line: str) -> str | None:
    # Most lines are none of them, which one expression finds out sooner than forty.
    if not _ANY_ROW.match(line):
        return None
    return next((kind for kind, pattern in _ROWS if pattern.match(line)), None)


def _hung(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find hung tasks whose name has newlines; yield where, and the line mended."""
    row = next(pattern for kind, pattern in _ROWS if kind == "hung-task")
    for at, line in enumerate(lines):
        if not _HUNG.match(line) or row.match(line):
            continue
        joined = line
        for more in lines[at + 1 : at + 1 + _NAME_LINES]:
            joined = f"{joined}\\n{more}"
            if " blocked " in more:
                break
        if row.match(joined):
            yield at, joined


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
    last = None  # of a trace
    registers = None
    reach = at + _MOST
    here = at
    while here + 1 < min(reach, len(lines)):
        here += 1
        line = lines[here]
        near = last is None and here - at <= _SAME
        if _END.match(line):
            return here + 1
        if _BANNER.match(line):
            opens_another = any(kinds[here + 1 : here + 3])
            return here if opens_another else here + 1
        if kinds[here] and not (near or _continues(lines, kinds, at, here, last)):
            break
        if _CUT.match(line) and not (near and here - at <= _BEFORE):
            break
        if _TRACE.match(line):
            last = here
        elif last is not None and (_FRAME.match(line) or "</TASK>" in line):
            last = here
        elif last is None and _REGISTER.match(line):
            registers = here
        if any(p.match(line) for p in (_FRAME, _LINK, _REGISTER)):
            reach = here + _MOST
    else:
        here += 1
    if last is not None:
        return last + 1
    if registers is not None:
        return registers + 1
    return min(at + _BARE, here)


def _continues(
    lines: Sequence[str],
    kinds: Sequence[str | None],
    at: int,
    here: int,
    last: int | None,
) -> bool:
    """Return whether a diagnostic is the second half of the one at `at`."""
    fault = kinds[at] == kinds[here] == "oops" and not _SECOND.match(lines[at])
    return fault and last is None and bool(_SECOND.match(lines[here]))


def _functions(kind: str, lines: Sequence[str]) -> tuple[str, ...]:
    """Return where it happened: the diagnostic's own symbol, then the first trace."""
    names = _SYMBOL.findall(lines[0])
    if named := _NAMED.match(lines[0]):
        names += [name for name in named.groups() if name]
    interrupted: list[str] = []
    in_trace = False
    body = _stalled(lines[1:]) if kind == "rcu-stall" else lines[1:]
    for line in body:
        frame = _FRAME.match(line)
        if _TRACE.match(line):
            in_trace = True
        elif in_trace and (line.strip() == "</TASK>" or line.endswith(":")):
            break
        elif match := _PC.match(line):
            # Inside of a trace it is what an interrupt came upon.
            if in_trace and kind == "rcu-stall":
                interrupted.append(match[1])
            else:
                names.append(match[1])
        elif frame and not in_trace and kind in _BARE_TRACE:
            in_trace = True
            names.append(frame[2])
        elif in_trace and frame and not frame[1]:
            names.append(frame[2])
        elif in_trace and kind in _BARE_TRACE and not frame:
            break
    if kind == "rcu-stall":
        names = _where_it_stalls(names, interrupted)
    return tuple(dict.fromkeys(names))


def _stalled(lines: Sequence[str]) -> Sequence[str]:
    """Leave out the stack of the grace-period thread, if there is another."""
    start = next((n for n, line in enumerate(lines) if _GP_STACK.match(line)), None)
    if start is None:
        return lines
    traces = [n for n, line in enumerate(lines) if _TRACE.match(line)]
    before = [n for n in traces if n < start]
    after = [n for n in traces if n > start]
    if before or len(after) < 2:
        return lines
    end = next(n for n in range(after[0], after[1]) if _is_over(lines, n, after[0]))
    return [*lines[:start], *lines[end + 1 :]]


def _is_over(lines: Sequence[str], at: int, trace: int) -> bool:
    """Return whether a trace, begun at line `trace`, has no frame after `at`."""
    if lines[at].strip() == "</TASK>":
        return True
    ends = not _FRAME.match(lines[at + 1]) and lines[at + 1].strip() != "<TASK>"
    return ends and bool(_FRAME.match(lines[at]) or _TRACE.match(lines[at + 1]))


def _where_it_stalls(names: list[str], interrupted: list[str]) -> list[str]:
    """Put what the stalled CPU or task did before what interrupted or stopped it."""
    entries = [n for n, name in enumerate(names) if _ENTRY.match(name)]
    cut = entries[-1] + 1 if entries else 0
    ordered = [*interrupted, *names[cut:], *names[:cut]]
    busy = [name for name in ordered if not _SCHEDULER.match(name)]
    return [*busy, *(name for name in ordered if _SCHEDULER.match(name))]
