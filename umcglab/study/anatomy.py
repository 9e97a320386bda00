# SPDX-License-Identifier: MIT
"""Where the instructions of one operation go, function by function.

A bench runs in an exact guest whose QEMU counts, by a plugin of ours, how often
each instruction is executed in each measured batch. The table is of the median
batch, which is what the bench's own figure is of, and must add up to it.
"""

from __future__ import annotations

import re
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from umcglab.errors import InfraError, UserError
from umcglab.guest import exact
from umcglab.guest.exact import Step
from umcglab.guest.qemu import option_value
from umcglab.guest.suite import Bundle
from umcglab.host import command
from umcglab.host.cache import Cache, digest, tree_digest
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import Arch
from umcglab.lab.config import Lab
from umcglab.results.case import Case
from umcglab.results.facts import BenchPlanFacts
from umcglab.run import lanes
from umcglab.verdict import bench_output
from umcglab.verdict.figures import Figure

PLUGIN = Path(__file__).parent / "plugin"

_CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
_MARKS = ("bench_mark_begin", "bench_mark_end")
"""Labels in the bench, at the same distance before each of its clock readings."""

_ROUNDING = 20
"""By how much a batch's count and its clock may differ: arm64's counter ticks every
16 instructions, and the compiler may move a few between a mark and its clock."""

_SMALL = 0.5
"""Functions with fewer instructions per operation share a line."""

_KERNEL = 1 << 63
_TWICE = "[counted twice, for they faulted]"
_FAULTS = ("asm_exc_page_fault", "do_mem_abort")
"""Where each architecture begins to handle an access that could not be made."""
_OUTSIDE = {True: "[kernel, no symbol]", False: "[vdso]"}

GROUPS = {
    "clock": r"bench_main|measure|now$|_*clock_gettime|\[vdso",
    "user": r"user:",
    "umcg": r".*umcg",
    "entry": r"entry_SYS|do_syscall_64|x64_sys_call|syscall_|.*exit_to_user|"
    r"_*(x64|arm64|se|do)_sys_|el0|vectors|invoke_syscall|do_el0|ret_to_user|"
    r"(enter|exit)_(from|to)_|do_notify_resume",
    "wake-up": r"try_to_wake_up|ttwu|wake_|_*wake_up|default_wake|select_(task|idle)|"
    r"wakeup_|_*resched_curr|check_preempt|autoremove_wake|available_idle|task_woken|"
    r"prepare_to_wait|finish_wait|do_wait|init_wait",
    "pelt": r"_*update_load_|update_\w*_load|decay_load|accumulate_sum|arch_scale|"
    r"attach_entity|detach_entity|_*update_util|cpufreq_|propagate_",
    "runqueue": r"_*(en|de)queue_|_*(de)?activate_task|block_task|_*pick_|put_prev|"
    r"_*set_next|update_(curr|deadline|se|min)|place_entity|requeue|avg_vruntime|"
    r"entity_|vruntime_|_*rb_|yield_|rt_|_*update_stats|reweight|cfs_|dl_|hrtick|"
    r"clear_buddies|plist_|cpupri|pull_|push_|sched_idle",
    "time": r"sched_clock|native_sched|update_rq_clock|ktime_|read_tsc|arch_counter|"
    r"local_clock|timekeeping|arch_timer",
    "switch": r"_*switch_|cpu_switch_to|_*switch_to|finish_task|prepare_task|.*fpsimd|"
    r"_*fpu|fpregs|load_|save_|restore_|native_load|check_and_switch|sve_|"
    r"cpu_do_switch|post_ttbr|enter_lazy|membarrier|mte_|ptrauth_|tls_|contextidr|"
    r"erratum|hw_breakpoint|__(rd|wr)gsbase|_*local_bh_enable|_*mmdrop",
    "rseq": r"_*rseq|.*mm_cid|.*rseq_cs",
    "schedule": r"_*schedule|do_sched_yield|preempt_|.*spin_|rcu_|_*raw_|_*cond_resched|sched_|"
    r".*task_rq_lock|.*balance",
    "look-up": r"find_task|find_vpid|find_get|idr_|_*radix_tree|.*pid_|_*put_task|"
    r"security_|ptrace_may|kill_ok|ns_capable",
    "faults": r".*faulted|.*page_fault|el1|.*mem_abort|.*kernel_fault|asm_exc|exc_|.*except|"
    r"error_|.*extable|handle_mm|lock_vma|lock_mm|find_vma|mas_|ret_to_kernel",
    "futex": r".*futex|get_user_pages|gup_|.*hash",
    "memory": r".*(page|folio|vma|tlb|_lru|lru_|pte|madvise|pmd|memcg|charge|plug)|"
    r"memset|memcpy|up_read|down_read",
    "files": r"vfs_|ksys_|.*pipe_|eventfd_|_*fd|_*fget|_*copy|rw_verify|new_sync|"
    r"_*f[dl]?put|file_|.*atime|fsnotify|_*arch_copy|_*get_user|_*put_user|"
    r"_*clear_user|iov_|import_|inode_|current_time|mnt_|rep_movs|.*mutex",
}
"""Groups of functions, by the beginnings of their names; the first that fits has it."""

_PATTERNS = {group: re.compile(pattern) for group, pattern in GROUPS.items()}


@dataclass(frozen=True)
class Anatomy:
    """What one bench executes for one operation."""

    figure: Figure
    functions: Mapping[str, float]
    """Instructions per operation, most first."""
    places: Mapping[int, float]
    """The same, by the instruction's address."""

    @property
    def total(self) -> float:
        return sum(self.functions.values())

    def groups(self) -> dict[str, float]:
        """Return instructions per operation by group, most first."""
        found: dict[str, float] = {}
        for name, n in self.functions.items():
            found[group(name)] = found.get(group(name), 0.0) + n
        return dict(sorted(found.items(), key=lambda row: -row[1]))


@dataclass(frozen=True)
class Symbols:
    """The functions of an ELF file, by address."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def faults(self) -> tuple[int, ...]:
        """Where an instruction that faults leads."""
        pairs = zip(self.addresses, self.names, strict=True)
        return tuple(address for address, name in pairs if name in _FAULTS)

    def name(self, address: int) -> str | None:
        """Return the function an address is in."""
        at = bisect_right(self.addresses, address) - 1
        return self.names[at] if at >= 0 and address < self.addresses[-1] else None


def group(function: str) -> str:
    """Return the group of a function."""
    fits = (name for name, p in _PATTERNS.items() if p.match(function))
    return next(fits, "other")


def measure(
    lab: Lab, kernel: Kernel, bundle: Bundle, bench_name: str, sched: str
) -> Anatomy:
    """Run one bench in an exact guest and return its anatomy."""
    plan, step = find(bundle, bench_name, sched)
    program = bundle.dir / step.argv[0]
    symbols = symbol_table(kernel.arch, program)
    begin, end = (mark(symbols, name, program) for name in _MARKS)
    with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
        counts = Path(tmp) / "counts"
        plugin = build_plugin(lab.cache)
        arguments = f"begin={begin:x},end={end:x},out={option_value(counts)}"
        done = exact.run(
            lab,
            kernel,
            bundle.dir,
            [step],
            output=Path(tmp) / "output",
            console_log=Path(tmp) / "console",
            plugin=f"{option_value(plugin)},{arguments}",
        )
        said = done.output.read_text(errors="replace")
        batches = read_counts(counts.read_text())
    return dissect(
        result(said, plan),
        batches,
        functions(symbol_table(kernel.arch, kernel.vmlinux)),
        functions(symbols),
    )


def find(bundle: Bundle, bench_name: str, sched: str) -> tuple[BenchPlanFacts, Step]:
    """Return a bench as the exact lane runs it."""
    benches = lanes.benches(bundle)
    for plan, step in benches.items():
        if plan.case == Case.of(bench_name, sched):
            return plan, step
    names = ", ".join(dict.fromkeys(plan.bench for plan in benches))
    raise UserError(f"no bench {bench_name!r}", hint=f"benches are {names}")


def result(said: str, plan: BenchPlanFacts) -> Figure:
    """Return what a bench printed; raise unless it was measured."""
    read = bench_output.parse_uart(said, [plan])
    for reason in read.skipped.values():
        raise UserError(f"{plan.name}: skipped in this kernel: {reason}")
    if read.problems:
        raise InfraError(read.problems[0])
    return read.figures[plan.case]


def dissect(
    measured: Figure,
    batches: list[dict[int, int]],
    kernel: Symbols,
    program: Symbols,
) -> Anatomy:
    """Return the anatomy of the median batch; InfraError if it does not add up."""
    if len(batches) != measured.batches:
        raise InfraError(
            f"{measured.case.name}: {len(batches)} batches were counted, "
            f"the bench measured {measured.batches}"
        )
    # The lower of two in the middle, as the bench's figure is.
    batch = sorted(batches, key=lambda places: sum(places.values()))
    places = batch[(len(batch) - 1) // 2]
    by_name: Counter[str] = Counter()
    for address, count in places.items():
        by_name[_function(address, kernel, program)] += count
    # The plugin sees an instruction begin: one that faults, twice.
    twice = sum(places.get(address, 0) for address in kernel.faults)
    by_name[_TWICE] -= twice
    counted = sum(by_name.values())
    timed = measured.per_op * measured.ops_per_batch
    if abs(counted - timed) > _ROUNDING:
        raise InfraError(
            f"{measured.case.name}: a batch executes {counted} instructions, and takes "
            f"{timed:.0f} ns by the bench's own clock"
        )
    ops = measured.ops_per_batch
    return Anatomy(
        figure=measured,
        functions={name: count / ops for name, count in by_name.most_common() if count},
        places={address: count / ops for address, count in places.items()},
    )


def _function(address: int, kernel: Symbols, program: Symbols) -> str:
    in_kernel = address >= _KERNEL
    name = (kernel if in_kernel else program).name(address)
    if name is None:
        return _OUTSIDE[in_kernel]
    return name if in_kernel or _PATTERNS["clock"].match(name) else f"user:{name}"


def read_counts(text: str) -> list[dict[int, int]]:
    """Return what the plugin wrote: executions by address, for each batch."""
    lines = text.splitlines()
    if not lines or lines.pop() != "done":
        raise InfraError("the counts of QEMU's plugin are not complete")
    batches: list[dict[int, int]] = []
    for line in lines:
        if line == "batch":
            batches.append({})
        else:
            address, count = line.split()
            batches[-1][int(address, 16)] = int(count)
    return batches


def symbol_table(arch: Arch, elf: Path) -> dict[str, int]:
    """Return the addresses of the code symbols of an ELF file."""
    listing = command.output([f"{arch.cross_compile}nm", "--defined-only", str(elf)])
    rows = (line.split() for line in listing.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if row[1] in "tTwW"}


def mark(symbols: Mapping[str, int], name: str, program: Path) -> int:
    """Return where a mark of a bench is."""
    if name not in symbols:
        raise UserError(f"{program}: has no label {name}, so it is no bench of ours")
    return symbols[name]


def functions(symbols: Mapping[str, int]) -> Symbols:
    """Return `symbols` by address, with the plainest name where there are several."""
    best: dict[int, str] = {}
    for name, address in symbols.items():
        known = best.get(address)
        if name not in _MARKS and (known is None or _plain(name) < _plain(known)):
            best[address] = name
    order = sorted(best)
    return Symbols(tuple(order), tuple(best[a] for a in order))


def _plain(name: str) -> tuple[bool, int, str]:
    return name.startswith("_"), len(name), name


def build_plugin(cache: Cache, name: str = "count") -> Path:
    """Return a compiled plugin."""
    version = command.output(["gcc", "--version"]).partition("\n")[0]
    key = digest(tree_digest(PLUGIN), _CFLAGS, version, name)

    def fill(folder: Path) -> None:
        source, made = str(PLUGIN / f"{name}.c"), str(folder / f"{name}.so")
        command.output(["gcc", *_CFLAGS, "-o", made, source])

    return cache.make("plugins", key, fill) / f"{name}.so"


def table(anatomy: Anatomy) -> Iterator[str]:
    """Return the lines of the table: functions, groups, and the sum."""
    measured = anatomy.figure
    name = f"{measured.case.name}:{measured.case.sched}"
    yield f"{name}, instructions per operation ({measured.op})"
    yield ""
    rows = list(anatomy.functions.items())
    large = [(name, n) for name, n in rows if abs(n) >= _SMALL]
    small = [n for _, n in rows if abs(n) < _SMALL]
    if small:
        large.append((f"[{len(small)} more below {_SMALL} each]", sum(small)))
    yield from _rows("function", large, anatomy.total, with_group=True)
    yield ""
    yield from _rows("group", anatomy.groups().items(), anatomy.total)
    yield ""
    yield f"{anatomy.total:9.2f}  counted in the median batch"
    yield (
        f"{measured.per_op:9.2f}  the bench's own figure: the median of "
        f"{measured.batches} batches of {measured.ops_per_batch}"
    )
    overhead = measured.clock_overhead / measured.ops_per_batch
    yield f"{overhead:9.2f}  of both is reading the clock, once a batch"


def _rows(
    title: str,
    rows: Iterable[tuple[str, float]],
    total: float,
    with_group: bool = False,
) -> Iterator[str]:
    """Return a line for each row, with its share and the sum of those so far."""
    yield f"{'insns':>9}  {'share':>6}  {'so far':>6}  {title}"
    so_far = 0.0
    for name, n in rows:
        so_far += n
        line = f"{n:9.2f}  {n / total:6.1%}  {so_far / total:6.1%}  {name}"
        known = with_group and not name.startswith("[")
        yield f"{line}  ({group(name)})" if known else line


def listing(
    anatomy: Anatomy, kernel: Kernel, program: Path, function: str
) -> Iterator[str]:
    """Return a function's disassembly, each line after its instructions per operation.

    It is that of the file: what the kernel has patched into itself differs.
    """
    plain = function.removeprefix("user:")
    elf = kernel.vmlinux if plain == function else program
    objdump = f"{kernel.arch.cross_compile}objdump"
    said = command.output(
        [objdump, f"--disassemble={plain}", "--no-show-raw-insn", str(elf)]
    )
    lines = [m for m in re.finditer(r"^ *([0-9a-f]+):\t(.*)$", said, re.MULTILINE)]
    if not lines:
        raise UserError(f"{elf.name} has no function {plain!r}")
    for line in lines:
        n = anatomy.places.get(int(line[1], 16), 0.0)
        yield f"{f'{n:.2f}' if n else '':>9}  {line[1]}  {line[2].expandtabs()}"
