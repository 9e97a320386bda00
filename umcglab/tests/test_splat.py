# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from pathlib import Path

import pytest

from umcglab.verdict import splat

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
    "hung-task-newline": ("hung-task", "INFO: task a\\nb:97 blo", ["umcg_switch_to"]),
    "kasan": ("kasan", "BUG: KASAN: slab-use", ["umcg_wake", "umcg_wait"]),
    "kasan-dmesg": ("kasan", "BUG: KASAN: slab-use", ["umcg_wake", "dump_stack_lvl"]),
    "kcsan": ("kcsan", "BUG: KCSAN: data-race", ["umcg_wake", "umcg_wait"]),
    "kfence": ("kfence", "BUG: KFENCE: use-after-free", ["umcg_wake"]),
    "kfence-corruption": (
        "kfence",
        "BUG: KFENCE: memory",
        ["kfree", "umcg_unregister"],
    ),
    "kmemleak": ("kmemleak", "kmemleak: 2 new suspected memory leaks", []),
    "kmsan": ("kmsan", "BUG: KMSAN: uninit-value", ["umcg_wake"]),
    "list-add": ("list-corruption", "list_add double add", ["umcg_enqueue"]),
    "list-del": (
        "list-corruption",
        "list_del corruption.",
        ["__list_del_entry_valid_or_report"],
    ),
    "lockdep-circular": ("lockdep", "WARNING: possible circular", ["dump_stack_lvl"]),
    "lockdep-circular-20-of-12": ("lockdep", "WARNING: poss", ["dump_stack_lvl"]),
    "lockdep-circular-4-of-30": ("lockdep", "WARNING: poss", ["dump_stack_lvl"]),
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
    "oops-kasan-6.1-arm64": ("oops", "Unable to handle kernel p", ["umcg_switch_to"]),
    "oops-null-6.12-arm64": ("oops", "Unable to handle kernel N", ["umcg_switch_to"]),
    "oops-paging-6.12-arm64": ("oops", "Unable to handle kernel", ["umcg_switch_to"]),
    "oops-null-x86_64": ("oops", "BUG: kernel NULL pointer", ["umcg_switch_to"]),
    "oops-paging-arm64": ("oops", "Unable to handle kernel paging", ["umcg_block"]),
    "oops-stack-arm64": ("oops", "Insufficient stack space", ["umcg_block"]),
    "page-state": ("page", "BUG: Bad page state", ["bad_page"]),
    "panic-init": ("panic", "Kernel panic - not syncing: Att", ["dump_stack_lvl"]),
    "panic-root": ("panic", "Kernel panic - not syncing: VFS", ["dump_backtrace"]),
    "preemptible": ("preemptible", "BUG: using", ["check_preemption_disabled"]),
    "rcu-stall-expedited": ("rcu-stall", "rcu: INFO: rcu_preempt", ["umcg_spin"]),
    "rcu-stall-preempted": ("rcu-stall", "rcu: INFO: rcu_preempt", ["umcg_find"]),
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
    "warning-6.12-pc-x86_64": ("warning", "WARNING: CPU: 0", ["umcg_wake"]),
    "warning-6.18-arm64": ("warning", "WARNING: kernel/sched/umcg.c", ["umcg_wake"]),
    "warning-6.18-message": ("warning", "WARNING: kernel/sched/umcg.c", ["umcg_wake"]),
    "warning-6.18-x86_64": ("warning", "WARNING: kernel/sched/umcg.c", ["umcg_wake"]),
    "workqueue-lockup": ("workqueue-lockup", "BUG: workqueue lockup - pool", []),
}


def strip(text: str) -> list[str]:
    stamp = r"^\[ *\d+\.\d+\](?: ?\[ *T\d+\])? ?"
    return [re.sub(stamp, "", line).rstrip() for line in text.splitlines()]


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
    # Of these two a line alone does not tell.
    assert bool(heard) == (path.stem not in ("cut-short", "hung-task-newline"))


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


def marked(text: str, caller: str) -> list[str]:
    """Return the lines of a report as a kernel with PRINTK_CALLER writes them."""
    return [f"[   41.207331][{caller:>6}] {line}" for line in strip(text)]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_what_two_cpus_say_at_a_time_is_told_apart(path: Path) -> None:
    other = (DATA / "splat/kasan.log").read_text()
    mine, others = marked(path.read_text(), "T97"), marked(other, "C1")
    mixed = []
    for n in range(max(len(mine), len(others))):
        mixed += mine[n : n + 1] + others[n : n + 1]
    found = splat.scan("\n".join(mixed) + "\n")
    alone = splat.scan("\n".join(mine) + "\n") + splat.scan("\n".join(others) + "\n")
    said = [(s.kind, s.text, s.excerpt, s.functions) for s in found]
    assert sorted(said) == sorted(
        (s.kind, s.text, s.excerpt, s.functions) for s in alone
    )
    assert all(mixed[s.line - 1].endswith(s.excerpt.splitlines()[0]) for s in found)


def test_a_mixed_log_as_it_was_seen() -> None:
    text = (DATA / "mixed/kasan-and-hung-task.log").read_text()
    kasan, hung = splat.scan(text)
    assert (kasan.kind, kasan.line, kasan.functions[0]) == ("kasan", 1, "umcg_wake")
    assert (hung.kind, hung.line, hung.functions[0]) == ("hung-task", 2, "__schedule")
    assert "umcg_block" not in kasan.functions


def test_a_stack_overflow_is_where_its_registers_say() -> None:
    text = (DATA / "mixed/stack-overflow-arm64.log").read_text()
    oops, panic = splat.scan(text)
    assert (oops.kind, oops.functions) == ("oops", ("umcg_block",))
    assert oops.excerpt.endswith("x0: 0000000000000000")
    assert panic.kind == "panic"


@pytest.mark.parametrize("extra", [1, 10, 60, 100])
def test_a_report_is_one_however_long_its_registers(extra: int) -> None:
    sample = strip((DATA / "splat/oops-null-6.12-arm64.log").read_text())
    at = sample.index("Data abort info:")
    text = "\n".join([*sample[:at], *["  ISV = 0, ISS = 0"] * extra, *sample[at:]])
    (found,) = splat.scan(text + "\n")
    assert found.functions[0] == "umcg_switch_to"
    assert found.excerpt == text


def test_two_faults_one_after_the_other_are_two() -> None:
    text = (DATA / "splat/oops-null-6.12-arm64.log").read_text()
    assert [s.kind for s in splat.scan(text + text)] == ["oops", "oops"]


TRACE = "Call Trace:\n <TASK>\n {}+0x1/0x2\n do_syscall_64+0x5d/0xd0\n </TASK>\n"


def test_a_stall_is_where_the_stalled_cpu_is_not_the_thread_that_waits() -> None:
    starved = (
        "rcu: rcu_sched kthread starved for 21000 jiffies! g-1067 ->cpu=0\n"
        "rcu: RCU grace-period kthread stack dump:\n"
        "task:rcu_sched       state:R  running task\n" + TRACE.format("rcu_gp_fqs_loop")
    )
    text = (
        "rcu: INFO: rcu_sched self-detected stall on CPU\n"
        "rcu: \t0-....: (20999 ticks this GP) idle=3f94\n"
        "rcu: \t(t=21000 jiffies g=-1067 q=12 ncpus=1)\n"
        f"{starved}CPU: 0 UID: 0 PID: 97 Comm: wait\nRIP: 0010:umcg_spin+0x1d/0x90\n"
        + TRACE.format("umcg_loop")
    )
    (found,) = splat.scan(text)
    assert found.functions == ("umcg_spin", "umcg_loop", "do_syscall_64")
    (alone,) = splat.scan(starved)
    assert alone.functions[0] == "rcu_gp_fqs_loop"


def test_a_stall_on_arm64_is_what_the_interrupt_came_upon() -> None:
    text = (
        "rcu: INFO: rcu_preempt self-detected stall on CPU\nCall trace:\n"
        " __schedule+0x1/0x2\n preempt_schedule_irq+0x1/0x2\n el1_interrupt+0x1/0x2\n"
        " el1h_64_irq+0x64/0x68\n umcg_find+0x1/0x2\n umcg_wake+0x1/0x2\n"
    )
    (found,) = splat.scan(text)
    assert found.functions[:2] == ("umcg_find", "umcg_wake")
    assert found.functions[-1] == "preempt_schedule_irq"


def test_a_cpu_that_answers_does_so_in_the_report_that_asked() -> None:
    ask = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
    ask += "rcu: \t(detected by 0, t=2 jiffies)\nSending NMI from CPU 0 to CPUs 1:"
    answer = "NMI backtrace for cpu 1\nRIP: 0010:umcg_spin+0x1/0x2\n"
    answer += TRACE.format("umcg_loop").rstrip()
    text = "\n".join([*marked(ask, "C0"), *marked(answer, "C1")]) + "\n"
    (found,) = splat.scan(text)
    assert found.functions[:2] == ("umcg_spin", "umcg_loop")
    assert "umcg_loop" in found.excerpt
    warning = (DATA / "splat/warning-x86_64.log").read_text()
    more = text + "\n".join(marked(warning, "C1")) + "\n"
    assert [s.kind for s in splat.scan(more)] == ["rcu-stall", "warning"]


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: kernel/sched/umcg.c:412 at umcg_wake+0x1/0x2 [mod], CPU#3: a b/97",
        "WARNING: at umcg_wake+0x1/0x2, CPU#0: wait/97",
        "WARNING: net/core.c:1 at 0xffffffff81000000, CPU#12: kworker/0:1/9",
    ],
)
def test_warnings_as_newer_kernels_write_them(line: str) -> None:
    assert [s.kind for s in splat.scan(line + "\n")] == ["warning"]


@pytest.mark.parametrize("newlines", [1, 2, 14, 15])
def test_a_task_may_be_called_newlines(newlines: int) -> None:
    name = "\n" * newlines
    text = f"INFO: task {name}:97 blocked for more than 122 seconds.\nCall trace:\n"
    (found,) = splat.scan(text + " umcg_wait+0x1/0x2\n")
    assert (found.kind, found.functions) == ("hung-task", ("umcg_wait",))


def test_work_on_a_line_is_bounded() -> None:
    """No pattern sees more of a line than any kernel writes."""
    seen = splat.scan("INFO: " + "detected " * 50000 + "stall\n")
    assert seen == ()
    (found,) = splat.scan("BUG: " + "x" * 100000 + "\n")
    assert len(found.text) == splat._LONGEST
