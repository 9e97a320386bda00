# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from pathlib import Path

import pytest

from umcglab import splat

DATA = Path(__file__).parent / "data"
SAMPLES = sorted((DATA / "splat").glob("*.log"))
BOOTS = sorted((DATA / "boot").glob("*.log"))

BEFORE = """\
[    1.201337] Freeing unused kernel image (initmem) memory: 2048K
[    1.203001] Run /init as init process
"""
AFTER = """\
[   55.000001] EXT4-fs (vda): mounted filesystem r/w without journal.
[   55.000002] random: crng init done
"""

# file: kind, first diagnostic, innermost functions
EXPECTED = {
    "atomic-sched": ("atomic-sleep", "BUG: scheduling while", ["__schedule_bug"]),
    "atomic-sleep": ("atomic-sleep", "BUG: sleeping function", ["__might_resched"]),
    "bug-arm64": ("bug", "kernel BUG at kernel/sched/umcg.c:301!", ["umcg_enqueue"]),
    "bug-x86_64": ("bug", "kernel BUG at kernel/sched/umcg.c:301!", ["umcg_enqueue"]),
    "cut-short": ("cut-short", "------------[ cut here ]------------", []),
    "hard-lockup": ("hard-lockup", "watchdog: CPU0: Watchdog", ["umcg_spin"]),
    "hard-lockup-buddy": ("hard-lockup", "watchdog: Watchdog", ["umcg_spin"]),
    "hung-task": ("hung-task", "INFO: task wait:97 blocked", ["__schedule"]),
    "kasan": ("kasan", "BUG: KASAN: slab-use", ["umcg_wake", "umcg_wait"]),
    "kcsan": ("kcsan", "BUG: KCSAN: data-race in umcg_wake / umcg_wait", []),
    "kfence": ("kfence", "BUG: KFENCE: use-after-free", ["umcg_wake"]),
    "kmemleak": ("kmemleak", "kmemleak: 2 new suspected memory leaks", []),
    "kmsan": ("kmsan", "BUG: KMSAN: uninit-value", ["umcg_wake"]),
    "list-add": ("list-corruption", "list_add double add", ["umcg_enqueue"]),
    "list-del": (
        "list-corruption",
        "list_del corruption.",
        ["__list_del_entry_valid_or_report"],
    ),
    "lockdep-circular": ("lockdep", "WARNING: possible circular", ["dump_stack_lvl"]),
    "lockdep-irq": ("lockdep", "WARNING: HARDIRQ-safe", ["dump_backtrace"]),
    "lockdep-key": ("lockdep", "INFO: trying to register", ["umcg_register"]),
    "lockdep-off": ("lockdep-off", "BUG: MAX_LOCKDEP_ENTRIES", ["umcg_register"]),
    "lockdep-rcu": ("lockdep", "WARNING: suspicious RCU usage", ["umcg_find"]),
    "lockdep-recursive": ("lockdep", "WARNING: possible recursive", ["umcg_wake"]),
    "lockdep-user": ("lockdep", "WARNING: lock held when returning", []),
    "lockdep-wait-context": ("lockdep", "[ BUG: Invalid wait", ["umcg_pin"]),
    "odebug": ("odebug", "ODEBUG: free active", ["umcg_timeout", "umcg_wait"]),
    "oops-arm64": ("oops", "Unable to handle kernel NULL", ["umcg_switch_to"]),
    "oops-double-fault-x86_64": ("oops", "traps: PANIC:", ["umcg_switch_to"]),
    "oops-fault-x86_64": ("oops", "BUG: unable to handle page", ["umcg_block"]),
    "oops-gp-6.1-x86_64": ("oops", "general protection", ["umcg_unregister"]),
    "oops-gp-x86_64": ("oops", "Oops: general protection", ["umcg_unregister"]),
    "oops-null-x86_64": ("oops", "BUG: kernel NULL pointer", ["umcg_switch_to"]),
    "oops-paging-arm64": ("oops", "Unable to handle kernel paging", ["umcg_block"]),
    "oops-stack-arm64": ("oops", "Insufficient stack space", ["umcg_block"]),
    "page-state": ("page", "BUG: Bad page state", ["bad_page"]),
    "panic-init": ("panic", "Kernel panic - not syncing: Att", ["dump_stack_lvl"]),
    "panic-root": ("panic", "Kernel panic - not syncing: VFS", ["dump_backtrace"]),
    "preemptible": ("preemptible", "BUG: using", ["check_preemption_disabled"]),
    "rcu-stall-expedited": ("rcu-stall", "rcu: INFO: rcu_preempt", ["umcg_spin"]),
    "rcu-stall-self": ("rcu-stall", "rcu: INFO: rcu_sched self", ["umcg_spin"]),
    "rcu-stall-starved": ("rcu-stall", "rcu: rcu_sched kthread", ["schedule_timeout"]),
    "rcu-stall-tasks": ("rcu-stall", "rcu: INFO: rcu_preempt", ["umcg_spin"]),
    "refcount": ("refcount", "refcount_t: underflow", ["refcount_warn_saturate"]),
    "rss": ("page", "BUG: Bad rss-counter state", []),
    "slab": ("slab", "BUG kmalloc-96 (Not tainted)", ["check_bytes_and_report"]),
    "soft-lockup": ("soft-lockup", "watchdog: BUG: soft lockup", ["umcg_spin"]),
    "spinlock": ("spinlock", "BUG: spinlock bad magic", ["do_raw_spin_lock"]),
    "ubsan": ("ubsan", "UBSAN: array-index-out-of-bounds", ["umcg_ctl"]),
    "warning-arm64": ("warning", "WARNING: CPU: 0 PID: 97 at ker", ["umcg_wake"]),
    "warning-message-x86_64": ("warning", "WARNING: CPU: 0", ["update_curr"]),
    "warning-x86_64": ("warning", "WARNING: CPU: 0", ["umcg_wake", "umcg_wait"]),
    "workqueue-lockup": ("workqueue-lockup", "BUG: workqueue lockup - pool", []),
}


def strip(text: str) -> list[str]:
    return [re.sub(r"^\[ *\d+\.\d+\] ?", "", line) for line in text.splitlines()]


def test_every_kind_has_a_sample() -> None:
    assert {p.stem for p in SAMPLES} == set(EXPECTED)
    assert {kind for kind, _ in splat.KINDS} <= {e[0] for e in EXPECTED.values()}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_sample(path: Path) -> None:
    kind, first, functions = EXPECTED[path.stem]
    sample = path.read_text()
    found = splat.scan(BEFORE + sample + AFTER)
    assert [(s.kind, s.text[: len(first)]) for s in found] == [(kind, first)]
    assert list(found[0].functions[: len(functions)]) == functions
    # The whole report and nothing of the lines around it.
    body = strip(sample)
    while not body[0]:
        body.pop(0)
    assert found[0].line == strip(BEFORE + sample).index(body[0]) + 1
    excerpt = found[0].excerpt.splitlines()
    assert excerpt[0] == body[0]
    if functions:
        assert excerpt == body[: len(excerpt)]
        assert len(excerpt) >= len(body) - 1
        assert not set(excerpt) & set(strip(AFTER))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_a_console_wait_hears_the_sample(path: Path) -> None:
    heard = re.search(splat.BAD_NEWS, path.read_text().replace("\n", "\r\n"))
    assert bool(heard) == (path.stem != "cut-short")


def test_every_row_is_the_first_to_match_some_line() -> None:
    lines = [line.strip() for path in SAMPLES for line in strip(path.read_text())] + [
        "BUG: assuming atomic context at kernel/sched/core.c:8753",
        "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]",
        "softirq: huh, entered softirq 1 TIMER 00000000f0a1b2c3 with preempt_count 1",
        "SError Interrupt on CPU0, code 0x00000000be000011 -- SError",
        "WARNING: inconsistent lock state",
        "WARNING: bad unlock balance detected!",
        "WARNING: kernel stack frame pointer at (____ptrval____) has bad value",
        "BUG: anything else a kernel may come to say",
    ]
    patterns = [pattern for _, pattern in splat.KINDS]
    used = {
        next((pattern for pattern in patterns if re.match(pattern, line)), None)
        for line in lines
    }
    assert [pattern for pattern in patterns if pattern not in used] == []


def test_one_oops_and_the_panic_it_ends_in_are_two_findings() -> None:
    oops = (DATA / "splat/oops-null-x86_64.log").read_text()
    panic = (DATA / "splat/panic-init.log").read_text()
    found = splat.scan(BEFORE + oops + panic)
    assert [s.kind for s in found] == ["oops", "panic"]
    assert re.search(splat.PANIC, panic)
    assert not re.search(splat.PANIC, oops)


def test_two_reports_back_to_back_stay_apart() -> None:
    kasan = (DATA / "splat/kasan.log").read_text()
    hung = (DATA / "splat/hung-task.log").read_text()
    warning = (DATA / "splat/warning-arm64.log").read_text()
    found = splat.scan(kasan + kasan + hung + hung + warning + BEFORE + warning)
    kinds = ["kasan", "kasan", "hung-task", "hung-task", "warning", "warning"]
    assert [s.kind for s in found] == kinds


def test_a_report_after_an_unfinished_line_of_a_program_is_found() -> None:
    text = "# checking 12 thr[   41.207331][   T97] BUG: KASAN: wild in f+0x1/0x2\r\n"
    assert [s.kind for s in splat.scan(text)] == ["kasan"]
    assert re.search(splat.BAD_NEWS, text)


def test_a_report_without_timestamps_or_with_colours_is_found() -> None:
    text = "\x1b[1mKernel panic - not syncing: no init\x1b[0m\n"
    assert [s.text for s in splat.scan(text)] == ["Kernel panic - not syncing: no init"]


def test_a_report_cut_off_in_its_trace_is_kept() -> None:
    text = (DATA / "splat/oops-arm64.log").read_text()
    found = splat.scan(text[: text.index("invoke_syscall")])
    assert [s.kind for s in found] == ["oops"]
    assert "umcg_switch_to+0x88" in found[0].excerpt


@pytest.mark.parametrize(
    "line",
    [
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
        "traps: wait[97] general protection fault ip:401c2b sp:7ffd error:0",
        "wait[97]: segfault at 0 ip 0000000000401c2b sp 00007ffd error 4 in wait",
        "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc'",
        "sched: RT throttling activated",
        "ODEBUG: selftest passed",
        "rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).",
        "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
        "lkdtm: Performing direct entry REFCOUNT_INC_OVERFLOW",
        "kmemleak: Kernel memory leak detector initialized (mem pool available: 1)",
        "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
        "PM: Enabling panic_on_oops is not in use",
        "Kernel command line: panic=-1 oops=panic console=ttyS0",
    ],
)
def test_ordinary_lines_are_not_reports(line: str) -> None:
    text = f"[    0.100000] {line}\n{line}\n"
    assert splat.scan(text) == ()
    assert not re.search(splat.BAD_NEWS, text)


@pytest.mark.parametrize("path", BOOTS, ids=lambda p: p.stem)
def test_an_ordinary_boot_is_no_report(path: Path) -> None:
    text = path.read_text()
    assert "Linux version 6.12" in text
    assert splat.scan(text) == ()
    assert not re.search(splat.BAD_NEWS, text)


def test_there_is_a_boot_of_each_lane_and_arch() -> None:
    names = {p.stem for p in BOOTS}
    assert names == {"x86_64", "arm64", "x86_64-exact", "arm64-exact"}
