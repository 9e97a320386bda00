# SPDX-License-Identifier: MIT
"""The build, on a toy kernel: cached, checked, blamed, interrupted."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

from umcglab.errors import InfraError, LabError, PatchError, UserError
from umcglab.guest import image, suite
from umcglab.guest.suite import Bundle
from umcglab.host.cache import digest, tree_digest
from umcglab.host.display import Display
from umcglab.host.progress import Progress, Silent
from umcglab.kernel import kernels
from umcglab.kernel.kbuild import Build
from umcglab.kernel.kernels import Headers, Kernel
from umcglab.lab import config
from umcglab.lab.arch import X86_64, Arch
from umcglab.lab.config import Lab
from umcglab.lab.manifest import Manifest
from umcglab.run import artifacts
from umcglab.tests import toylab
from umcglab.tests.toylab import UMCG_C, ToyLab


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    return toylab.make(tmp_path)


def build(
    toy: ToyLab,
    name: str = "x86_64-umcg-toy",
    progress: toylab.Progress | None = None,
    shares: bool = True,
) -> Kernel:
    lab = toy.load()
    (target,) = config.select(lab, [name])
    said = progress or toylab.Progress()
    return kernels.build(target, lab, said, jobs=2, shares=shares)


def fails(toy: ToyLab, kind: type[LabError], name: str = "x86_64-umcg-toy") -> LabError:
    """Build; check the class of the error and that nothing but the log is left."""
    with pytest.raises(kind) as caught:
        build(toy, name)
    assert leftovers(toy) == []
    return caught.value


def no_image(arch: Arch, lab: Lab, progress: Progress) -> None:
    """Nobody boots."""


def made_with(
    lab: Lab, arch: Arch, kernel: Headers | Kernel, abi: str, progress: Progress
) -> Bundle:
    """Return a bundle that only tells what it would have been made with."""
    return Bundle(kernel.headers, abi, Manifest(()))


def leftovers(toy: ToyLab) -> list[Path]:
    return [p for p in (toy.root / "cache" / "kernels").glob("*") if p.is_dir()]


def test_a_kernel_has_all_its_parts(toy: ToyLab) -> None:
    kernel = build(toy)
    for path in (kernel.image, kernel.vmlinux, kernel.system_map, kernel.log):
        assert path.is_file(), path
    assert kernel.image.name == "bzImage"
    assert "umcg_wait" in kernel.system_map.read_text()
    assert "CONFIG_UMCG=y" in kernel.config.read_text().splitlines()
    assert (kernel.headers / "linux" / "unistd.h").is_file()
    assert not (kernel.dir / "linux").exists()


def test_headers_need_no_kernel(toy: ToyLab) -> None:
    """They are the same without one, made once, and those of a kernel that is there."""
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    assert kernels.find_headers(target, lab) is None
    said = toylab.Progress()
    alone = kernels.headers(target, lab, said, jobs=1)
    assert "headers" in said.phases and "compile" not in said.phases
    assert leftovers(toy) == []
    assert sorted(p.name for p in alone.headers.parent.iterdir()) == [
        "build.log",
        "include",
    ]
    again = toylab.Progress()
    assert kernels.headers(target, lab, again, jobs=1) == alone
    assert again.phases == ["source"]
    assert kernels.find_headers(target, lab) == alone
    kernel = build(toy)
    assert tree_digest(kernel.headers) == tree_digest(alone.headers) != digest([])
    assert kernels.headers(target, lab, Silent(), jobs=1) == kernel
    assert kernels.find_headers(target, lab) == kernel


def test_headers_have_the_patches(toy: ToyLab) -> None:
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    before = kernels.headers(target, lab, Silent(), jobs=1)
    name = "include/uapi/linux/toy.h"
    toy.series("umcg-toy/6.99", toylab.patch("more", {name: ("", "#define TOY 1\n")}))
    after = kernels.headers(target, lab, Silent(), jobs=1)
    assert not (before.headers / "linux/toy.h").exists()
    assert (after.headers / "linux/toy.h").read_text() == "#define TOY 1\n"


def test_headers_of_patches_that_do_not_apply(toy: ToyLab) -> None:
    wrong = toylab.patch("wrong", {"kernel/fork.c": ("none\n", "some\n")})
    toy.series("umcg-toy/6.99", wrong)
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    with pytest.raises(PatchError, match=r"kernel/fork\.c"):
        kernels.headers(target, lab, Silent(), jobs=1)
    assert kernels.find_headers(target, lab) is None


def test_kernels_that_share_objects_are_not_built_at_once() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    only = [
        "*-umcg-v0.5-7.3-debug",
        "*-control-7.3",
        "*-umcg-v0.5-7.3",
        "*-umcg-2022-7.3",
    ]
    chosen = config.select(lab, only)
    names = [target.name for target in artifacts.in_order([*chosen, chosen[0]])]
    assert sorted(names) == sorted(target.name for target in chosen)
    assert names[:4] == [
        "x86_64-umcg-v0.5-7.3",
        "arm64-umcg-v0.5-7.3",
        "x86_64-umcg-v0.5-7.3-debug",
        "arm64-umcg-v0.5-7.3-debug",
    ]
    assert names[-2:] == ["x86_64-control-7.3", "arm64-control-7.3"]


def test_kernels_that_share_objects_are_compiled_so_that_they_can() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    wanted = config.select(lab, ["*-control*", "x86_64-umcg-v0.5", "*-umcg-v0.5-7.3"])
    assert artifacts.sharing(wanted) == set()
    wanted += config.select(lab, ["x86_64-umcg-2022-7.3"])
    assert {target.name for target in artifacts.sharing(wanted)} == {
        "x86_64-umcg-v0.5-7.3",
        "x86_64-umcg-2022-7.3",
    }


def test_no_target_waits_for_its_image(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "build", no_image)
    monkeypatch.setattr(suite, "build", made_with)
    monkeypatch.setattr(kernels, "build", no_kernel)
    lab = toy.load()
    said = io.StringIO()
    with Display(Console(file=said)) as display:
        artifacts.build(lab, config.select(lab, ["x86_64-*"]), 2, display)
    ended = [line.partition(":")[0] for line in said.getvalue().splitlines()]
    jobs = [name for name in ended if name.startswith(("kernel", "image"))]
    assert [name.partition(" ")[0] for name in jobs] == ["image", "kernel", "kernel"]


def no_kernel(*_: object, progress: object, **__: object) -> NoReturn:
    """Take longer than an image."""
    time.sleep(1.0)
    raise InfraError("no kernel")


def test_a_control_waits_for_no_other_kernel(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "build", no_image)
    monkeypatch.setattr(suite, "build", made_with)
    lab = toy.load()
    patched = config.select(lab, ["x86_64-umcg-toy"])
    control = config.select(lab, ["x86_64-control"])
    with Display(Console(file=io.StringIO())) as display:
        alone = artifacts.build(lab, control, 2, display)
        assert not alone.errors()
        assert [kernel.name for kernel in leftovers(toy)] == [
            kernels.build(control[0], lab, Silent(), 1).digest
        ]
        both = artifacts.build(lab, [*patched, *control], 2, display)
    assert not both.errors()
    kernel = both.kernels["x86_64-umcg-toy"]
    assert isinstance(kernel, Kernel)
    made = [built.bundles["x86_64-control"] for built in (alone, both)]
    assert made[0][0].dir.parent.parent.name == "headers"  # type: ignore[index]
    assert made[1][0].dir == kernel.headers  # type: ignore[index]


def test_its_release_names_version_abi_and_digest(toy: ToyLab) -> None:
    kernel = build(toy)
    assert kernel.release == f"6.99.1-umcg-toy-{kernel.digest[:12]}"
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    assert kernels.release(target, lab) == kernel.release


def test_its_identity_says_what_it_is_made_of(toy: ToyLab) -> None:
    identity = build(toy).identity
    patches = identity["patches"]
    assert isinstance(patches, list)
    assert [(p["name"], p["subject"]) for p in patches] == [
        ("plumbing/6.99/0001-toy.patch", "fork: count"),
        ("umcg-toy/6.99/0001-toy.patch", "umcg: add"),
    ]
    assert identity["touched"] == ["kernel/fork.c", "kernel/umcg.c"]
    assert "gcc" in str(identity["compiler"])


def test_what_is_beside_a_kernel_makes_no_other(toy: ToyLab) -> None:
    before = build(toy)
    (path,) = toy.patches.glob("umcg-toy/6.99/*.patch")
    added = path.read_text()
    tests = "tools/testing/selftests/umcg/wait.c"
    beside = {tests: ("", "int a;\n"), "MAINTAINERS": ("", "UMCG\n")}
    toy.series("umcg-toy/6.99", added, toylab.patch("selftests", beside))
    assert build(toy) == before
    objtool = {tests: ("", "int a;\n"), "tools/objtool/a.c": ("", "int a;\n")}
    toy.series("umcg-toy/6.99", added, toylab.patch("objtool", objtool))
    assert build(toy) != before


def test_a_control_has_no_patches(toy: ToyLab) -> None:
    kernel = build(toy, "x86_64-control")
    assert kernel.identity["patches"] == []
    assert "umcg" not in kernel.system_map.read_text()


def test_the_other_architecture(toy: ToyLab) -> None:
    kernel = build(toy, "arm64-control")
    assert kernel.image.name == "Image"
    said = subprocess.run(
        ["readelf", "-h", kernel.vmlinux], capture_output=True, text=True, check=True
    )
    assert "AArch64" in said.stdout


def test_a_second_build_does_nothing(toy: ToyLab) -> None:
    first = build(toy)
    progress = toylab.Progress()
    assert build(toy, progress=progress) == first
    assert progress.phases == ["source"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("linux/init/main.c", "int start_kernel(void) { return 1; }\n"),
        ("kernel-patches/kconfig/base.config", "CONFIG_SMP=y\nCONFIG_DEBUG=y\n"),
        ("kernel-patches/umcg-toy/config", "# CONFIG_UMCG is not set\n"),
    ],
)
def test_any_input_changes_the_digest(toy: ToyLab, file: str, text: str) -> None:
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    before = kernels.release(target, lab)
    toy.write(file, text)
    assert kernels.release(target, lab) != before
    assert kernels.find(target, lab) is None


def test_a_patch_changes_the_digest(toy: ToyLab) -> None:
    first = build(toy)
    more = toylab.patch("umcg: add", {"kernel/umcg.c": ("", UMCG_C + "\n")})
    toy.series("umcg-toy/6.99", more)
    assert build(toy).digest != first.digest


def test_progress_expects_what_the_last_build_took(toy: ToyLab) -> None:
    progress = toylab.Progress()
    build(toy, "x86_64-control", progress)
    assert progress.totals["compile"] is None
    assert progress.phases[-1] == "compile"
    steps = progress.done
    assert steps == 3
    build(toy, "x86_64-umcg-toy", progress)
    assert progress.totals["compile"] == steps


def test_ccache_serves_another_folder(toy: ToyLab) -> None:
    build(toy, "x86_64-control")
    progress = toylab.Progress()
    kernel = build(toy, progress=progress)
    # init/main.c is the same in both; fork.c and umcg.c are not.
    assert kernel.identity["ccache"] == {"hits": 1, "misses": 2}
    assert "1 of 3 objects from ccache (33 %)" in progress.said[-1]


def test_the_makers_environment_is_not_kbuilds(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "--no-such-option")
    monkeypatch.setenv("KCFLAGS", "-no-such-flag")
    monkeypatch.setenv("LOCALVERSION", "-mine")
    assert build(toy).release.startswith("6.99.1-umcg-toy-")


@pytest.mark.parametrize(
    ("option", "level"), [("CONFIG_DEBUG_INFO_BTF=y", "-g"), ("CONFIG_BTF=y", "-g1")]
)
def test_a_kernel_that_describes_its_types_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, level: str
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / ".config").write_text(f"CONFIG_BPF=y\n{option}\n")
    said: list[str] = []

    def stream(self: Build, argv: list[str], *_: object) -> tuple[int, int]:
        said.extend(argv)
        return 0, 0

    monkeypatch.setattr(Build, "_stream", stream)
    log = tmp_path / "log"
    Build("b", X86_64, tmp_path, log, tmp_path, 1, 1, PatchError).make("vmlinux")
    (flags,) = (word for word in said if word.startswith("KCFLAGS="))
    assert flags.removeprefix("KCFLAGS=").split()[0] == level


def test_a_missing_option_is_named_with_its_fragment(toy: ToyLab) -> None:
    toy.write("kernel-patches/umcg-toy/config", "CONFIG_UMCG=y\nCONFIG_TYPO=y\n")
    error = fails(toy, PatchError)
    assert "CONFIG_TYPO=y is absent" in error.message
    assert error.where == f"{toy.patches / 'umcg-toy' / 'config'}:2"


def test_an_unmet_dependency_is_found(toy: ToyLab) -> None:
    toy.write("kernel-patches/kconfig/base.config", "# CONFIG_SMP is not set\n")
    assert "CONFIG_UMCG=y is absent" in fails(toy, PatchError).message


def test_an_unpatched_kernel_without_an_option_is_the_users_choice(toy: ToyLab) -> None:
    toy.write("kernel-patches/kconfig/base.config", "CONFIG_NEWER=y\n")
    error = fails(toy, UserError, "x86_64-control")
    assert "CONFIG_NEWER=y is absent" in error.message


def test_asking_for_unset_is_asking(toy: ToyLab) -> None:
    kconfig = toy.tree / "scripts" / "conf"
    kconfig.write_text(kconfig.read_text() + "echo CONFIG_DEBUG=y\n")
    kconfig.write_text(kconfig.read_text().replace("exec awk", "awk"))
    error = fails(toy, UserError, "x86_64-control")
    assert "# CONFIG_DEBUG is not set is CONFIG_DEBUG=y" in error.message


def add_umcg(toy: ToyLab, code: str) -> None:
    toy.series(
        "umcg-toy/6.99", toylab.patch("umcg: add", {"kernel/umcg.c": ("", code)})
    )


def test_a_compile_error_is_the_first_and_has_its_log(toy: ToyLab) -> None:
    add_umcg(toy, UMCG_C.replace("return flags", "return flag"))
    error = fails(toy, PatchError)
    assert "kernel/umcg.c:6:16: error: 'flag' undeclared" in error.message.replace(
        "\N{LEFT SINGLE QUOTATION MARK}", "'"
    ).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    assert "../" not in error.message
    assert error.log is not None
    assert "error:" in error.log.read_text()


def test_a_link_error_is_shown(toy: ToyLab) -> None:
    add_umcg(toy, UMCG_C + "\nint start_kernel(void)\n{\n\treturn 2;\n}\n")
    assert "multiple definition of" in fails(toy, PatchError).message


def test_a_control_that_does_not_compile_is_the_labs_fault(toy: ToyLab) -> None:
    (toy.tree / "init" / "main.c").write_text("int start_kernel(void) { return x; }\n")
    error = fails(toy, InfraError, "x86_64-control")
    assert "init/main.c:1:" in error.message


def test_a_host_trouble_is_never_the_patchs_fault(toy: ToyLab) -> None:
    makefile = toy.tree / "Makefile"
    text = makefile.read_text()
    trouble = "\techo 'ld: final link failed: No space left on device'; exit 1\n"
    makefile.write_text(text.replace('\t@echo "  LD      vmlinux"\n', trouble))
    assert "No space left on device" in fails(toy, InfraError).message


def test_a_warning_in_a_touched_file_fails(toy: ToyLab) -> None:
    fork = toy.old("kernel/fork.c")
    warns = fork.replace("\tint pid;\n", "\tint pid, unused;\n")
    toy.series(
        "plumbing/6.99",
        toylab.patch("fork: warn", {"kernel/fork.c": (fork, warns)}),
    )
    error = fails(toy, PatchError)
    assert "kernel/fork.c:11:18: warning: unused variable" in error.message


@pytest.mark.parametrize("shares", [True, False])
def test_a_comparison_that_a_macro_made_is_no_warning(
    toy: ToyLab, shares: bool
) -> None:
    """gcc warns of it where it does not read the source as it is."""
    fork = toy.old("kernel/fork.c")
    compares = "#define SAME(x) ((x) == (x))\n" + fork.replace("= 100", "= SAME(cpu)")
    toy.series(
        "plumbing/6.99",
        toylab.patch("fork: compare", {"kernel/fork.c": (fork, compares)}),
    )
    log = build(toy, shares=shares).log.read_text()
    assert log.count("[-Wtautological-compare]") == 1
    assert log.count("  CC      kernel/fork.o") == 2


def test_an_error_is_where_the_source_has_it(toy: ToyLab) -> None:
    macro = "#define GIVE(x) (x)\n"
    add_umcg(toy, macro + UMCG_C.replace("return flags", "return GIVE(flags) + flag"))
    assert "kernel/umcg.c:7:30: error: " in fails(toy, PatchError).message


def test_questions_to_the_compiler_are_not_preprocessed(tmp_path: Path) -> None:
    """In preprocessed text a macro of the compiler's own can be defined again.

    By this question kconfig learns that there is an __int128.
    """
    built = Build("b", X86_64, tmp_path, tmp_path / "log", tmp_path, 1, 1, PatchError)
    asked = "umcglab-cc gcc -Werror -D__SIZEOF_INT128__=0 -c -x c /dev/null -o probe.o"
    said = subprocess.run(
        asked.split(), cwd=tmp_path, env=built.environment(), stderr=subprocess.PIPE
    )
    assert said.returncode and b"redefined" in said.stderr


def test_a_warning_elsewhere_does_not(toy: ToyLab) -> None:
    main = toy.tree / "init" / "main.c"
    main.write_text(main.read_text().replace("{\n", "{\n\tint unused;\n"))
    assert "warning: unused variable" in build(toy).log.read_text()


def test_an_added_file_is_checked_with_w1(toy: ToyLab) -> None:
    # -Wextra, which the toy has in W=1 only, minds the unused parameter.
    add_umcg(toy, UMCG_C.replace("return flags", "return 0"))
    error = fails(toy, PatchError)
    assert "kernel/umcg.c:4:19: error: unused parameter" in error.message


def test_what_the_patches_touch_is_compiled_without_the_abi(toy: ToyLab) -> None:
    lab = toy.load()
    (target,) = config.select(lab, ["x86_64-umcg-toy"])
    kernels.check_without_abi(target, lab, Silent(), jobs=2)

    fork = toy.old("kernel/fork.c")
    warns = fork.replace(
        "\tint pid;\n",
        "\tint pid;\n#ifndef CONFIG_UMCG\n\tint unused;\n#endif\n",
    )
    toy.series(
        "plumbing/6.99", toylab.patch("fork: warn", {"kernel/fork.c": (fork, warns)})
    )
    with pytest.raises(PatchError, match=r"kernel/fork.c:13:13: error: unused"):
        kernels.check_without_abi(target, lab, Silent(), jobs=2)


def test_a_config_can_be_checked_alone(toy: ToyLab) -> None:
    lab = toy.load()
    target = replace(config.select(lab, ["x86_64-umcg-toy"])[0], flavor="debug")
    kernels.check_config(target, lab, Silent(), jobs=2)
    assert leftovers(toy) == []
    toy.write("kernel-patches/kconfig/flavor/debug.config", "CONFIG_TYPO=y\n")
    with pytest.raises(PatchError, match="CONFIG_TYPO=y is absent"):
        kernels.check_config(target, lab, Silent(), jobs=2)


def test_a_flavor_may_extend_another_one(toy: ToyLab) -> None:
    toy.write("kernel-patches/kconfig/flavor/x86_64/bench.config", "CONFIG_SMP=y\n")
    target = replace(config.select(toy.load(), ["x86_64-umcg-toy"])[0], flavor="probed")
    kconfig = toy.root / "kernel-patches/kconfig"
    assert kernels.fragments(target, toy.load()) == (
        kconfig / "base.config",
        kconfig / "arch/x86_64.config",
        kconfig / "flavor/bench.config",
        kconfig / "flavor/x86_64/bench.config",
        kconfig / "flavor/probed.config",
        toy.root / "kernel-patches/umcg-toy/config",
    )


def test_a_base_and_an_arch_have_options_of_their_own(toy: ToyLab) -> None:
    toy.write("kernel-patches/kconfig/flavor/bench.config", "CONFIG_NEWER=y\n")
    assert "CONFIG_NEWER=y is absent" in fails(toy, PatchError).message
    ours = "# CONFIG_NEWER is not set\n# CONFIG_DEBUG is not set\n"
    toy.write("kernel-patches/kconfig/6.98/flavor/bench.config", ours)
    assert "CONFIG_NEWER=y is absent" in fails(toy, PatchError).message
    toy.write("kernel-patches/kconfig/6.99/flavor/bench.config", ours)
    fragments = build(toy).identity["fragments"]
    assert isinstance(fragments, dict)
    assert list(fragments) == [
        "kconfig/base.config",
        "kconfig/arch/x86_64.config",
        "kconfig/flavor/bench.config",
        "kconfig/6.99/flavor/bench.config",
        "umcg-toy/config",
    ]
    toy.write("kernel-patches/kconfig/flavor/arm64/bench.config", "CONFIG_TYPO=y\n")
    toy.write("kernel-patches/kconfig/flavor/x86_64/bench.config", "CONFIG_SMP=y\n")
    fragments = build(toy).identity["fragments"]
    assert isinstance(fragments, dict)
    assert list(fragments)[-2] == "kconfig/flavor/x86_64/bench.config"
    # Of a base alone, too, and after what is of all of them.
    here = "flavor/x86_64/bench.config"
    toy.write(f"kernel-patches/kconfig/6.99/{here}", "CONFIG_SMP=y\n")
    fragments = build(toy).identity["fragments"]
    assert isinstance(fragments, dict)
    assert list(fragments)[-3:-1] == [f"kconfig/{here}", f"kconfig/6.99/{here}"]
    (toy.root / "kernel-patches/kconfig" / here).unlink()
    fragments = build(toy).identity["fragments"]
    assert isinstance(fragments, dict)
    assert list(fragments)[-2] == f"kconfig/6.99/{here}"


def test_a_patch_that_does_not_apply_fails(toy: ToyLab) -> None:
    fork = (toy.tree / "kernel" / "fork.c").read_text()
    changed = fork.replace("pid = 100", "pid = 300")
    (toy.tree / "kernel" / "fork.c").write_text(changed)
    error = fails(toy, PatchError)
    assert "plumbing/6.99/0001-toy.patch does not apply" in error.message


def test_a_kernel_that_calls_itself_otherwise_is_refused(toy: ToyLab) -> None:
    makefile = toy.tree / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(LOCALVERSION)", "-mine"))
    assert "calls itself 6.99.1-mine" in fails(toy, InfraError).message


def test_a_localversion_file_is_told_before_the_compile(toy: ToyLab) -> None:
    (toy.tree / "localversion-mine").write_text("-mine\n")
    progress = toylab.Progress()
    with pytest.raises(UserError, match="localversion-mine in its tree") as caught:
        build(toy, progress=progress)
    assert caught.value.hint is not None
    assert f"rm {toy.tree / 'localversion-mine'}" in caught.value.hint
    assert progress.phases == ["source"]


@pytest.mark.parametrize("name", ["localversion-next", "localversion-rt"])
def test_the_localversion_of_next_and_rt_is_part_of_the_version(
    toy: ToyLab, name: str
) -> None:
    (toy.tree / name).write_text("-rt5\n")
    (toy.tree / "localversion-old~").write_text("-old\n")
    makefile = toy.tree / "Makefile"
    text = makefile.read_text()
    makefile.write_text(
        text.replace(
            "$(LOCALVERSION)", f"$(shell cat {toy.tree}/{name})$(LOCALVERSION)"
        )
    )
    kernel = build(toy)
    assert kernel.release == f"6.99.1-rt5-umcg-toy-{kernel.digest[:12]}"


def test_patches_that_change_the_version_are_told_before_the_compile(
    toy: ToyLab,
) -> None:
    more = toylab.patch("rt", {"localversion-rt": ("", "-rt6\n")})
    add = toylab.patch("umcg: add", {"kernel/umcg.c": ("", UMCG_C)})
    toy.series("umcg-toy/6.99", add, more)
    error = fails(toy, PatchError)
    assert "make the version 6.99.1-rt6; it was 6.99.1" in error.message
    assert error.log is None, "nothing was made"


def test_a_name_that_is_too_long_is_told_before_the_compile(toy: ToyLab) -> None:
    makefile = toy.tree / "Makefile"
    text = makefile.read_text()
    makefile.write_text(text.replace("EXTRAVERSION =", f"EXTRAVERSION = -{'x' * 40}"))
    progress = toylab.Progress()
    with pytest.raises(UserError, match="longer than the 64 characters") as caught:
        build(toy, progress=progress)
    assert "shorten the version" in (caught.value.hint or "")
    assert progress.phases == ["source"]


def test_a_name_in_the_config_is_told_before_the_compile(toy: ToyLab) -> None:
    (toy.tree / "Kconfig").write_text(
        (toy.tree / "Kconfig").read_text() + "config LOCALVERSION\n"
    )
    toy.write("kernel-patches/kconfig/base.config",
              'CONFIG_SMP=y\nCONFIG_LOCALVERSION="-me"\n')  # fmt: skip
    assert 'CONFIG_LOCALVERSION="-me" would change' in fails(toy, UserError).message


@pytest.mark.parametrize("text", ["", "many", "0", "-"])
def test_a_count_of_steps_that_is_damaged_is_counted_anew(
    toy: ToyLab, text: str
) -> None:
    memory = toy.write("cache/steps/x86_64-bench", text)
    progress = toylab.Progress()
    build(toy, progress=progress)
    assert progress.totals["compile"] is None
    assert memory.read_text() == "4"


@pytest.mark.parametrize("name", ["bzImage", "vmlinux", "kernel.json"])
def test_a_damaged_kernel_is_made_again(toy: ToyLab, name: str) -> None:
    kernel = build(toy)
    whole = (kernel.dir / name).read_bytes()
    os.truncate(kernel.dir / name, len(whole) // 2)
    progress = toylab.Progress()
    assert build(toy, progress=progress).digest == kernel.digest
    assert (kernel.dir / name).stat().st_size == len(whole)
    assert any("is damaged" in said for said in progress.said)
    # As an older lab kept it, only what cannot be read shows.
    if name == "kernel.json":
        os.truncate(kernel.dir / name, len(whole) // 2)
        kernel.dir.with_name(f".{kernel.dir.name}.size").write_text("1")
        lab = toy.load()
        assert kernels.find(config.select(lab, ["x86_64-umcg-toy"])[0], lab) is None
        build(toy)
        assert (kernel.dir / name).stat().st_size == len(whole)


def test_a_fragment_that_changes_meanwhile_is_for_the_next_build(toy: ToyLab) -> None:
    class Editor(toylab.Progress):
        def phase(self, name: str, total: int | None = None) -> None:
            super().phase(name, total)
            if name == "compile":
                toy.write("kernel-patches/kconfig/base.config", "CONFIG_SMP=y\n#\n")

    first = build(toy, progress=Editor())
    assert first.dir != build(toy).dir


def in_tree(toy: ToyLab) -> None:
    """Make the tree a developer's, with UMCG in it."""
    (toy.tree / "kernel" / "umcg.c").write_text(UMCG_C)


def test_a_tree_that_has_the_patches_already_is_told_what_to_write(
    toy: ToyLab,
) -> None:
    in_tree(toy)
    error = fails(toy, UserError)
    assert "already: kernel/umcg.c is there" in error.message
    assert error.hint == "write `patches: none` in target x86_64-umcg-toy of lab.yaml"
    lab = toy.root / "lab.yaml"
    lab.write_text(lab.read_text().replace("umcg-toy}", "umcg-toy, patches: none}"))
    kernel = build(toy)
    assert kernel.identity["patches"] == []
    assert "umcg_wait" in kernel.system_map.read_text()


def test_a_target_without_patches_needs_no_series(toy: ToyLab) -> None:
    in_tree(toy)
    lab = toy.root / "lab.yaml"
    text = lab.read_text()
    mine = 'abi: umcg-toy, base: "7.1", patches: none}'
    lab.write_text(text.replace("abi: umcg-toy}", mine))
    assert "umcg_wait" in build(toy).system_map.read_text()
    lab.write_text(text.replace("abi: umcg-toy}", "abi: umcg-toy, patches: some}"))
    with pytest.raises(UserError, match="patches"):
        toy.load()


def test_a_tree_with_umcg_that_is_wrong_is_the_patchs_fault(toy: ToyLab) -> None:
    (toy.tree / "kernel" / "umcg.c").write_text("int x = y;\n")
    lab = toy.root / "lab.yaml"
    lab.write_text(lab.read_text().replace("umcg-toy}", "umcg-toy, patches: none}"))
    assert "kernel/umcg.c:1:9: error" in fails(toy, PatchError).message


def test_a_build_leaves_a_folder_alone_that_it_does_not_take_as_its_cache(
    toy: ToyLab,
) -> None:
    lab = toy.load()
    theirs = lab.cache.root / "project" / "notes"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with (
        Display(Console(file=io.StringIO())) as display,
        pytest.raises(UserError, match="not made by umcglab"),
    ):
        artifacts.build(lab, lab.targets, 2, display)
    assert [*lab.cache.root.rglob("*")] == [theirs.parent, theirs]


def test_two_builds_at_once_build_once(toy: ToyLab) -> None:
    progresses = [toylab.Progress() for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        kernels = list(pool.map(lambda p: build(toy, progress=p), progresses))
    assert len({kernel.dir for kernel in kernels}) == 1
    assert sum("compile" in p.phases for p in progresses) == 1


def interrupt_me(toy: ToyLab) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        build(toy)


def sleepers(parent: int) -> list[int]:
    """Return the processes of the slow toy build under process group `parent`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.read_text().split(" ", 1)
            if int(rest.rsplit(")", 1)[1].split()[2]) == parent:
                found.append(int(pid))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing(toy: ToyLab, how: signal.Signals) -> None:
    base = toy.patches / "kconfig" / "base.config"
    base.write_text("CONFIG_SMP=y\nCONFIG_SLOW=y\n")

    def target() -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupt_me(toy)

    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    assert process.pid is not None
    deadline = time.monotonic() + 30
    while not any("sleep" in cmd for cmd in commands(sleepers(process.pid))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, how)
    process.join(10)
    assert process.exitcode is not None
    while sleepers(process.pid):
        assert time.monotonic() < deadline, commands(sleepers(process.pid))
        time.sleep(0.05)
    if how == signal.SIGKILL:
        # Nobody was left to tidy up; the next run does.
        assert leftovers(toy)
        toy.load().cache.trim(1 << 40)
    assert leftovers(toy) == []


def commands(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_text())
    return found
