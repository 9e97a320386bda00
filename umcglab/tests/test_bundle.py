# SPDX-License-Identifier: MIT
"""Building the guest suite: what is in a bundle, when it is built, whose fault it is."""

from __future__ import annotations

import platform
import shutil
import struct
from pathlib import Path

import pytest

from umcglab.errors import InfraError, PatchError, UserError
from umcglab.guest import suite
from umcglab.guest.suite import Bundle
from umcglab.host.cache import Cache
from umcglab.host.progress import Silent
from umcglab.kernel.kernels import Kernel
from umcglab.lab.arch import ARCHES, Arch
from umcglab.lab.config import ROOT, Lab

ABI = "umcg-toy"

PT_LOAD, PT_INTERP = 1, 3

MANIFEST = f"""\
{ABI}/word: {{kind: test, needs-umcg: true, tests: {{word: TASK-1}}}}
{ABI}/told: {{kind: test, needs-umcg: true, tests: {{told: TASK-1}}}}
{ABI}/idle: {{kind: py, tests: {{idle: }}}}
"""

WORD_C = """\
#include <linux/umcg.h>
#include "ktap.h"
TEST(word, .clauses = "TASK-1") { ASSERT_EQ(4, sizeof(struct umcg_task)); }
TEST_HARNESS_MAIN
"""

TOLD_C = """\
#include "told.h"
TEST(told) { ASSERT_EQ(4, sizeof(((struct umcg_task *)0)->state)); }
TEST_HARNESS_MAIN
"""

FILES = {
    "harness/manifest.yaml": "harness/selftest: {kind: test, tests: {passes: }}\n",
    "bench/manifest.yaml": "yard/syscall: {kind: bench}\n",
    f"abi/{ABI}/manifest.yaml": MANIFEST,
    "abi/umcg-other/manifest.yaml": "umcg-other/word: {kind: test, tests: {o: }}\n",
    f"abi/{ABI}/port.c": "int toy_backend;\n",
    f"abi/{ABI}/tests/word.c": WORD_C,
    "abi/umcg-other/tests/word.c": "#error not of this ABI\n",
    f"abi/{ABI}/abi.h": "#include <linux/umcg.h>\n",
    "state-word/told.h": '#include "abi.h"\n#include "ktap.h"\n',
    "state-word/told.c": TOLD_C,
    "state-word/word.c": "#error the ABI has a file of its own\n",
    "state-word/other.c": "#error the ABI does not plan it\n",
    "harness/selftest.c": '#include "ktap.h"\nTEST(passes) {}\nTEST_HARNESS_MAIN\n',
    f"abi/{ABI}/helpers/helper.c": "int main(void) { return 0; }\n",
    f"abi/{ABI}/py/test_idle.py": "def test_idle(): pass\n",
}

ARCH = next(a for a in ARCHES.values() if a.machine == platform.machine())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Return a lab whose guest suite is the real harness with toy tests."""
    suite = tmp_path / "guest-tests"
    for name in ("Makefile", "harness", "py", "kit/inject.c", "kit/inject.h", "bench/bench.c",
                 "bench/bench.h", "bench/work.h", "bench/yard/syscall.c"):  # fmt: skip
        source = ROOT / "guest-tests" / name
        if source.is_dir():
            shutil.copytree(source, suite / name)
        else:
            write(suite / name, source.read_text())
    for name, text in FILES.items():
        write(suite / name, text)
    cache = Cache(tmp_path / "cache")
    return Lab(tmp_path / "lab.yaml", tmp_path, cache, tmp_path / "results", 1, {}, ())


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    folder = tmp_path / "include"
    write(folder / "linux/umcg.h", "struct umcg_task { unsigned int state; };\n")
    return folder


def kernel(headers: Path, arch: Arch = ARCH) -> Kernel:
    """Return a kernel of which only the headers are there."""
    none = headers.parent / "none"
    return Kernel(
        none, "0", "6.99", arch, none, none, none, none, headers, none, identity={}
    )


def build(lab: Lab, headers: Path, arch: Arch = ARCH) -> Bundle:
    return suite.build(lab, arch, kernel(headers, arch), ABI, Silent())


def test_a_bundle_has_what_its_abi_plans(lab: Lab, headers: Path) -> None:
    made = build(lab, headers)
    assert [p.name for p in made.manifest.programs] == [
        "harness/selftest", f"{ABI}/word", f"{ABI}/told", f"{ABI}/idle", "yard/syscall",
    ]  # fmt: skip
    files = {str(p.relative_to(made.dir)) for p in made.dir.rglob("*") if p.is_file()}
    assert files == {
        "bin/harness/selftest", f"bin/{ABI}/told", f"bin/{ABI}/word", f"bin/helpers/{ABI}/helper", "bin/helpers/victim",
        "bin/helpers/watch_cpus", "bench/yard/syscall", f"py/{ABI}/test_idle.py", "py/child.py",
        "py/conftest.py", "py/groups.py", "py/patience.py", "py/run.py", "py/victims.py",
    }  # fmt: skip


def test_it_is_built_for_its_architecture(lab: Lab, headers: Path) -> None:
    machines = {"x86_64": 62, "arm64": 183}
    for arch in ARCHES.values():
        made = build(lab, headers, arch)
        elf = (made.dir / f"bin/{ABI}/word").read_bytes()
        (machine,) = struct.unpack_from("<H", elf, 18)
        assert machine == machines[arch.name]
        (start,) = struct.unpack_from("<Q", elf, 32)
        size, count = struct.unpack_from("<2H", elf, 54)
        kinds = [
            struct.unpack_from("<I", elf, start + n * size)[0] for n in range(count)
        ]
        assert PT_LOAD in kinds
        assert PT_INTERP not in kinds, "it must run without a libc"


def test_it_is_built_once(
    lab: Lab, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert suite.find(lab, ARCH, kernel(headers), ABI) is None
    first = build(lab, headers)
    assert suite.find(lab, ARCH, kernel(headers), ABI) == first.dir
    monkeypatch.setattr(suite, "_make", None)
    assert build(lab, headers) == first


def test_what_it_is_made_from_names_it(
    lab: Lab, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it is called does not depend on what is made.
    monkeypatch.setattr(suite, "_make", lambda *_: None)
    monkeypatch.setattr(suite, "_check", lambda *_: None)
    keys = {build(lab, headers).digest}
    write(headers / "linux/umcg.h", "struct umcg_task { int state; };\n")
    keys.add(build(lab, headers).digest)
    write(
        lab.root / f"guest-tests/abi/{ABI}/helpers/helper.c",
        "int main(void) { return 1; }\n",
    )
    keys.add(build(lab, headers).digest)
    write(
        lab.root / f"guest-tests/abi/{ABI}/py/test_idle.py",
        "def test_idle(): assert 1\n",
    )
    keys.add(build(lab, headers).digest)
    write(lab.root / "guest-tests/state-word/told.c", TOLD_C + "/* more */\n")
    keys.add(build(lab, headers).digest)
    assert len(keys) == 5
    write(lab.root / "guest-tests/README.md", "Nothing a guest sees.\n")
    write(lab.root / "guest-tests/build/bin/old", "of a build by hand")
    assert build(lab, headers).digest in keys


def test_an_abi_that_does_not_fit_is_the_patchs_fault(lab: Lab, headers: Path) -> None:
    # Of two files that do not fit, which make builds at once, either may be told of.
    only_word = "".join(
        line for line in MANIFEST.splitlines(True) if "told" not in line
    )
    write(lab.root / f"guest-tests/abi/{ABI}/manifest.yaml", only_word)
    write(headers / "linux/umcg.h", "struct umcg_worker { int state; };\n")
    with pytest.raises(PatchError, match=r"does not build for .*struct umcg_task") as e:
        build(lab, headers)
    assert e.value.where == f"guest-tests/abi/{ABI}/tests/word.c:3"
    assert f"KHDR={headers}" in str(e.value.hint)
    (headers / "linux/umcg.h").unlink()
    with pytest.raises(PatchError, match=r"linux/umcg\.h: No such file") as e:
        build(lab, headers)
    assert e.value.where == f"guest-tests/abi/{ABI}/tests/word.c:1"


def test_a_missing_function_is_named(lab: Lab, headers: Path) -> None:
    text = "int gone(void);\nint main(void) { return gone(); }\n"
    write(lab.root / f"guest-tests/abi/{ABI}/helpers/helper.c", text)
    with pytest.raises(PatchError, match=r"undefined reference to .gone"):
        build(lab, headers)


def test_a_plan_without_its_program_is_refused(lab: Lab, headers: Path) -> None:
    write(
        lab.root / f"guest-tests/abi/{ABI}/manifest.yaml",
        MANIFEST + f"{ABI}/none: {{kind: test, tests: {{one: }}}}\n",
    )
    with pytest.raises(UserError, match=f"{ABI}/none: .* has no bin/{ABI}/none"):
        build(lab, headers)


def test_a_toolchain_that_breaks_is_the_labs_fault(
    lab: Lab, headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tmp_path / "path/make"
    write(make, "#!/bin/sh\necho make: out of memory >&2\nexit 2\n")
    make.chmod(0o755)
    monkeypatch.setenv("PATH", f"{make.parent}:/usr/bin:/bin")
    with pytest.raises(InfraError, match="out of memory"):
        build(lab, headers)
