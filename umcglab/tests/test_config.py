# SPDX-License-Identifier: MIT
"""lab.yaml: every mistake is named with its line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from umcglab.errors import UserError
from umcglab.lab import config, yamlfile
from umcglab.lab.arch import ARM64, X86_64
from umcglab.lab.flavor import Flavor
from umcglab.tests import toylab
from umcglab.tests.toylab import ToyLab

SHA = "0" * 64


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyLab:
    monkeypatch.delenv("UMCGLAB_CACHE", raising=False)
    return toylab.make(tmp_path)


def complaint(toy: ToyLab, text: str) -> str:
    """Return `line:column: message` about a lab.yaml, and the hint if there is one."""
    file = toy.write("lab.yaml", text)
    with pytest.raises(UserError) as caught:
        toy.load()
    error = caught.value
    assert error.where is not None
    assert error.where.startswith(str(file)), error.where
    place = error.where.removeprefix(f"{file}:")
    return f"{place}: {error.message}" + (f" [{error.hint}]" if error.hint else "")


def places(node: yaml.Node) -> Iterator[tuple[object, ...]]:
    """Yield what is read of a node and of those below: kind, tag, value and place."""
    mark = node.start_mark
    plain = node.value if isinstance(node, yaml.ScalarNode) else ""
    yield type(node), node.tag, plain, mark.line, mark.column
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (*places(key), *places(value))
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from places(one)


def test_both_readers_of_yaml_agree(tmp_path: Path) -> None:
    folders = (config.ROOT / name for name in ("guest-tests", "kernel-patches"))
    files = [config.ROOT / "lab.yaml", *(f for d in folders for f in d.rglob("*.yaml"))]
    odd = tmp_path / "odd.yaml"
    gone = "w:\n  - {k: , l:\n  , m:}\n  -\n  - ''\nx: {y: }\nz:\n"
    odd.write_text(gone + "a: &x {b: [1, 'é\U0001f600' , ~]}\n# c\nd: >\n  e\n  f\n")
    assert yaml.__with_libyaml__
    for file in (*files, odd):
        read = yamlfile.compose(file)
        surely = yaml.compose(file.read_text(), Loader=yaml.SafeLoader)
        assert read and surely
        assert list(places(read)) == list(places(surely)), file


@pytest.mark.parametrize("text", ["[" * 1000, "- " * 1000, "a: [1,\n b: }", "a: b: c"])
def test_what_is_wrong_is_told_in_the_same_words(tmp_path: Path, text: str) -> None:
    """And nesting that would end libyaml, or this process, is told at all."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        yamlfile.compose(file)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as surely:
        patch.setattr(yaml, "__with_libyaml__", False)
        yamlfile.compose(file)
    assert caught.value.lines() == surely.value.lines()


def test_the_labs_own_file_is_right() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    by_default = (
        *("control-7.3", "umcg-v0.5-7.3", "umcg-v0.9.1-7.3", "umcg-2022-7.3"),
        *("control", "umcg-v0.5"),
    )
    at_night = (
        ("control-6.1", "bench"),
        ("umcg-v0.5-6.1", "bench"),
        ("umcg-v0.9.1", "bench"),
        ("umcg-2022", "bench"),
        ("umcg-v0.5-7.3-debug", "debug"),
        ("umcg-v0.5-7.3-kcsan", "kcsan"),
        ("umcg-v0.9.1-7.3-debug", "debug"),
        ("umcg-v0.9.1-7.3-kcsan", "kcsan"),
        ("umcg-2022-7.3-debug", "debug"),
        ("umcg-2022-7.3-kcsan", "kcsan"),
        ("umcg-v0.5-debug", "debug"),
        ("umcg-v0.5-kcsan", "kcsan"),
        ("umcg-v0.5-distro", "distro"),
        ("umcg-v0.5-kvm", "kvm"),
        ("umcg-v0.5-smp8", "bench"),
        ("umcg-v0.5-none", "debug"),
        ("umcg-v0.5-voluntary", "debug"),
        ("umcg-v0.5-7.3-lazy", "debug"),
        ("umcg-v0.5-handover", "bench"),
        ("umcg-v0.5-handover-7.3", "bench"),
        ("umcg-v0.9.1-handover-7.3", "bench"),
        ("umcg-2022-handover-7.3", "bench"),
        ("umcg-v0.5-7.3-rt", "rt"),
        ("umcg-v0.5-handover-rt", "rt"),
        ("umcg-v0.5-handover-7.3-rt", "rt"),
        ("control-7.3-lowres", "bench"),
    )
    expected = {
        (f"{arch}-{name}", arch, flavor, nightly)
        for arch in ("x86_64", "arm64")
        for name, flavor, nightly in (
            *((name, "bench", False) for name in by_default),
            *((name, flavor, True) for name, flavor in at_night),
        )
    }
    expected |= {
        ("arm64-umcg-v0.5-a57", "arm64", "bench", True),
    }
    expected |= {
        (f"x86_64-umcg-v0.5-handover-{base}{flavor}", "x86_64", flavor, True)
        for base in ("", "7.3-")
        for flavor in ("debug", "kcsan", "distro")
    }
    assert {(t.name, t.arch.name, t.flavor, t.nightly) for t in lab.targets} == expected
    for target in lab.targets:
        base = re.search(r"-(7\.3|6\.1)(-|$)", target.name)
        assert target.base == (base[1] if base else "6.12"), target.name
        assert target.is_control == ("-control" in target.name)
    assert set(lab.sources) == {"7.3", "6.12", "6.1"}
    assert lab.sources["6.1"].location == "linux-source-6.1"


def test_what_most_machines_run_has_two_threads_a_core() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    distro = next(t for t in lab.targets if t.flavor == "distro")
    assert distro.threads == 2
    assert replace(distro, smp=3).threads == 1
    assert all(t.threads == 1 for t in lab.targets if t.flavor != "distro")


def test_every_base_has_a_control_on_each_architecture() -> None:
    lab = config.load(config.ROOT / "lab.yaml")
    controls = {
        (t.arch.name, t.base): t for t in lab.targets if t.is_control and not t.cmdline
    }
    patched = {(t.arch.name, t.base) for t in lab.targets if not t.is_control}
    assert controls.keys() == patched
    for control in controls.values():
        # The source is the base's own, so that nothing but the series differs.
        theirs, *_ = lab.bundle_targets(control)
        assert (control.source, control.flavor) == (theirs.source, theirs.flavor)


def test_values_and_defaults(toy: ToyLab) -> None:
    toy.write(
        "lab.yaml",
        "sources:\n"
        f"  6.10: {{tarball: https://example.org/l.tar.xz, sha256: '{SHA}'}}\n"
        "  mine: {tree: ../linux}\n"
        "  git: {git: 'git@example.org:linux', ref: v6.12}\n"
        "targets:\n"
        "  one: {arch: arm64, source: 6.10, abi: control, cpu: cortex-a57}\n"
        "  two: {arch: x86_64, source: mine, base: '6.99', abi: umcg-toy, smp: 2,\n"
        "        memory: 2048, flavor: debug}\n"
        "cache-size: 500M\n"
        "cache: deep/cache\n"
        "results: /var/tmp/results\n",
    )
    lab = toy.load()
    one, two = lab.targets
    assert (one.arch, one.base, one.smp, one.memory) == (ARM64, "6.10", 1, 1024)
    assert one.is_control
    assert (two.arch, two.base, two.abi, two.flavor) == (
        X86_64, "6.99", "umcg-toy", "debug"
    )  # fmt: skip
    assert (two.smp, two.memory) == (2, 2048)
    assert (one.cpu, two.cpu) == ("cortex-a57", "")
    assert lab.sources["mine"].location == str(toy.root.parent / "linux")
    assert lab.sources["git"].location == "git@example.org:linux"
    assert lab.cache_size == 500 << 20
    assert lab.cache.root == toy.root / "deep" / "cache"
    assert lab.results == Path("/var/tmp/results")


def test_where_the_cache_is(toy: ToyLab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert toy.load().cache.root == toy.root / "cache"
    monkeypatch.setenv("UMCGLAB_CACHE", "/elsewhere")
    assert toy.load().cache.root == Path("/elsewhere")
    monkeypatch.delenv("UMCGLAB_CACHE")
    toy.write("lab.yaml", toylab.LAB)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert toy.load().cache.root == Path("/xdg/umcglab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert toy.load().cache.root == Path("/home/me/.cache/umcglab")


def test_a_cache_where_kernels_do_not_build(
    toy: ToyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = complaint(toy, f"{toylab.LAB}cache: my cache\n")
    assert said.startswith("7:8: cache")
    assert "kernels do not build in folders with spaces" in said
    monkeypatch.setenv("UMCGLAB_CACHE", "/c:/cache")
    with pytest.raises(UserError) as caught:
        toy.load()
    assert caught.value.where == "UMCGLAB_CACHE"
    monkeypatch.setenv("UMCGLAB_CACHE", "/" + "x" * 300)
    with pytest.raises(UserError, match="File name too long"):
        toy.load()


SOURCES = "sources:\n  '6.99': {tree: linux}\n"
TARGETS = "targets:\n  t: {arch: x86_64, source: '6.99', abi: control}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- a\n", "1:1: the lab must be a mapping"),
        ("sources: [\n", "2:1: not YAML: "),
        (f"{SOURCES}{TARGETS}cach: x\n", "5:1: the lab: unknown key 'cach'; did you"
         " mean 'cache'? [known are sources, defaults, targets, cache, cache-size, results]"),
        (f"{SOURCES}{TARGETS}{SOURCES}", "5:1: the lab: 'sources' is there twice"),
        (SOURCES, "1:1: the lab: 'targets' is missing"),
        (f"<<: {{a: b}}\n{SOURCES}", "1:1: the lab: merge keys (`<<`) are not read"),
        (f"{SOURCES}targets: {{}}\n", "3:10: targets: there are none"),
        (f"{SOURCES}targets:\n", "3:9: targets must be a mapping"),
        (f"{SOURCES}{TARGETS}cache:\n", "5:7: cache must be a word"),
        (f"{SOURCES}{TARGETS}cache-size: 20\n", "5:13: cache-size must be like 500M"),
        ("sources:\n  s: {tree: a, git: b}\n", "2:6: source 's' must have exactly one"),
        ("sources:\n  s: {ref: v6}\n", "2:6: source 's' must have exactly one of"),
        ("sources:\n  s: {tarball: a}\n", "2:6: source 's' (tarball): 'sha256' is"),
        ("sources:\n  s: {git: a}\n", "2:6: source 's' (git): 'ref' is missing"),
        ("sources:\n  s: {debian: p, version: 1}\n", "(debian): 'sha256' is missing"),
        ("sources:\n  s: {debian: p, version: 1, sha256: %s, suite: a b}\n" % ("0" * 64),
         "suite must be a suite of Debian's, like trixie-backports"),
        ("sources:\n  s: {tree: a, suite: x}\n", "2:16: source 's' (tree): unknown key"),
        ("sources:\n  s: {tree: a, ref: v6}\n", "2:16: source 's' (tree): unknown key"),
        ("sources:\n  s: {trea: a}\n", "2:7: source 's': unknown key 'trea'; did you"
         " mean 'tree'?"),
        ("sources:\n  s: {tarball: a, sha256: 12}\n", "2:27: sha256 must be 64 hex"),
        ("sources:\n  s: {tree: }\n", "2:12: tree must be a word"),
        ("sources:\n  s: {tree: yes}\n", "2:13: tree must be a word"),
    ],
)  # fmt: skip
def test_mistakes_at_the_top_and_in_sources(toy: ToyLab, text: str, said: str) -> None:
    assert said in complaint(toy, text)


GOOD = {"arch": "x86_64", "source": "'6.99'", "abi": "umcg-toy"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("arch", None, "4:6: target 't': 'arch' is missing"),
        ("source", None, "4:6: target 't': 'source' is missing"),
        ("abi", None, "4:6: target 't': 'abi' is missing"),
        ("arch", "amr64", "4:13: unknown arch 'amr64'; did you mean 'arm64'? [known are"
         " x86_64, arm64]"),
        ("source", "6.98", "unknown source '6.98'; did you mean '6.99'? [known are 6.9"),
        ("abi", "umcg-tory", "unknown abi 'umcg-tory'; did you mean 'umcg-toy'? [known"
         " are control, umcg-toy]"),
        ("flavor", "debgu", "unknown flavor 'debgu'; did you mean 'debug'?"),
        ("smp", "0", "smp must be from 1 to 8"),
        ("cpu", "cortex-a57", "unknown cpu 'cortex-a57'"),
        ("smp", "two", "smp must be a whole number"),
        ("memory", "1G", "memory must be a whole number"),
        ("memory", "[1]", "memory must be a whole number"),
        ("base", "6.98", "target 't': no series kernel-patches/plumbing/6.98.series"
         " [bases of plumbing are 6.99"),
        ("<<", "{smp: 2}", "target 't': merge keys (`<<`) are not read"),
        ("nightly", "maybe", "this can only be `true` or `false`"),
        ("vcpus", "2", "target 't': unknown key 'vcpus'"),
        ("with", "plumbing", "unknown with 'plumbing'"),
    ],
)  # fmt: skip
def test_mistakes_in_targets(
    toy: ToyLab, key: str, value: str | None, said: str
) -> None:
    pairs = {k: v for k, v in {**GOOD, key: value}.items() if v is not None}
    flow = ", ".join(f"{k}: {v}" for k, v in pairs.items())
    text = complaint(toy, f"{SOURCES}targets:\n  t: {{{flow}}}\n")
    assert said in text
    assert text.startswith("4:")


def test_what_an_abi_alone_has_of_a_part_is_no_part(toy: ToyLab) -> None:
    change = toylab.patch("x", {"x.c": ("", "x\n")})
    for part in ("more", "more-umcg-toy"):
        toy.series(f"{part}/6.99", change)
    pairs = ", ".join(f"{k}: {v}" for k, v in {**GOOD, "with": "more-umcg-toy"}.items())
    text = complaint(toy, f"{SOURCES}targets:\n  t: {{{pairs}}}\n")
    assert "unknown with 'more-umcg-toy'" in text


PRODUCT = """\
defaults: {memory: 2048, smp: 2}
targets:
  "{arch}-{abi}-{flavor}":
    arch: [arm64, x86_64]
    source: ["6.99"]
    abi: [control, umcg-toy]
    flavor: [bench, debug]
    smp: 4
  "{arch}-plain": {arch: x86_64, source: "6.99", abi: control}
"""


def test_lists_are_a_target_for_each_combination(toy: ToyLab) -> None:
    toy.write("lab.yaml", SOURCES + PRODUCT)
    targets = toy.load().targets
    assert [t.name for t in targets] == [
        *(
            f"{arch}-{abi}-{flavor}"
            for arch in ("arm64", "x86_64")
            for abi in ("control", "umcg-toy")
            for flavor in ("bench", "debug")
        ),
        "x86_64-plain",
    ]
    for target in targets[:-1]:
        assert target.name == f"{target.arch.name}-{target.abi}-{target.flavor}"
        assert (target.memory, target.smp) == (2048, 4)
    assert (targets[-1].memory, targets[-1].smp) == (2048, 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[arm64, x86_64]", "[arm64, amr64]",
         "6:19: unknown arch 'amr64'; did you mean 'arm64'?"),
        ("[arm64, x86_64]", "[]", "6:11: arch: the list is empty"),
        ("[arm64, x86_64]", "[arm64, arm64]", "6:19: arch: 'arm64' is there twice"),
        ("[arm64, x86_64]", "[arm64, [x86_64]]", "6:19: arch must be a word"),
        ("[arm64, x86_64]", "{arm64: }", "6:11: arch must be a word"),
        ("-{flavor}", "", "9:13: target '{arch}-{abi}': flavor is a list, so the name"
         " needs {flavor} [such as {arch}-{abi}-{flavor}]"),
        ("-{flavor}", "-{flavour}", "6:5: target '{arch}-{abi}-{flavour}': no 'flavour'"
         " to put into the name; did you mean 'flavor'? [it may have {arch}, {source}"),
        ("{arch}-plain", "{arch}-{flavor}-plain", "target '{arch}-{flavor}-plain': no"
         " 'flavor' to put into the name [it may have {arch}, {source}, {abi}]"),
        ("{arch}-plain", "{arch}-{abi}-bench", "11:25: target '{arch}-{abi}-bench':"
         " there is a target 'x86_64-control-bench' already"),
        ("{arch}-plain", "{arch-plain", "11:18: target '{arch-plain': names are of"),
        ("smp: 4", "smp: [2, 4]", "10:10: smp must be a whole number"),
        ("memory: 2048", "memory: 2G", "3:20: memory must be a whole number"),
        ("memory: 2048", "memroy: 2048", "3:12: defaults: unknown key 'memroy'; did you"
         " mean 'memory'? [known are flavor, smp, memory, cmdline, boot-timeout, nigh"),
        ("memory: 2048", "arch: arm64", "3:12: defaults: unknown key 'arch'"),
        ("memory: 2048", "flavor: [bench]", "3:20: defaults: flavor must be one value"),
        ("{memory: 2048, smp: 2}", "none", "3:11: defaults must be a mapping"),
    ],
)  # fmt: skip
def test_mistakes_in_products_and_defaults(
    toy: ToyLab, old: str, new: str, said: str
) -> None:
    assert PRODUCT.count(old) == 1
    assert said in complaint(toy, SOURCES + PRODUCT.replace(old, new))


def test_a_target_named_twice(toy: ToyLab) -> None:
    twice = TARGETS + TARGETS.removeprefix("targets:\n")
    assert complaint(toy, SOURCES + twice).startswith(
        "5:3: targets: 't' is there twice"
    )


def test_a_target_with_a_name_that_is_no_folder(toy: ToyLab) -> None:
    text = TARGETS.replace("t:", "../t:", 2).replace("targe../t", "target")
    assert "names are of letters" in complaint(toy, SOURCES + text)


def test_a_file_that_is_not_there(toy: ToyLab) -> None:
    with pytest.raises(UserError, match="No such file") as caught:
        config.load(toy.root / "no-such.yaml")
    assert "--lab" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ([], ["x86_64-control", "x86_64-umcg-toy", "arm64-control"]),
        (["arm64-control"], ["arm64-control"]),
        (["*-control"], ["x86_64-control", "arm64-control"]),
        (["arm64-*", "x86_64-umcg-toy"], ["x86_64-umcg-toy", "arm64-control"]),
        (["arm64-control,x86_64-control"], ["x86_64-control", "arm64-control"]),
        (["*-control", "arm64-*, "], ["x86_64-control", "arm64-control"]),
    ],
)
def test_select(toy: ToyLab, only: list[str], names: list[str]) -> None:
    assert [t.name for t in config.select(toy.load(), only)] == names


def test_nightly_targets_are_left_out_unless_asked_for(toy: ToyLab) -> None:
    text = (toy.root / "lab.yaml").read_text()
    toy.write(
        "lab.yaml", text.replace("abi: umcg-toy}", "abi: umcg-toy, nightly: true}")
    )
    lab = toy.load()
    every = [t.name for t in lab.targets]
    nightly = "x86_64-umcg-toy"
    assert [t.name for t in lab.targets if t.nightly] == [nightly]
    assert [t.name for t in config.select(lab, [], nightly=True)] == every
    assert [t.name for t in config.select(lab, [])] == [every[0], every[2]]
    assert [t.name for t in config.select(lab, ["x86_64-*"])] == [every[0], nightly]


@pytest.mark.parametrize(("value", "is_nightly"), [("true", True), ("false", False)])
def test_nightly_by_default_may_be_taken_back(
    toy: ToyLab, value: str, is_nightly: bool
) -> None:
    pairs = ", ".join(f"{k}: {v}" for k, v in {**GOOD, "nightly": value}.items())
    text = f"{SOURCES}defaults: {{nightly: true}}\ntargets:\n  t: {{{pairs}}}\n"
    toy.write("lab.yaml", text)
    (target,) = toy.load().targets
    assert target.nightly == is_nightly


def test_what_a_flavor_means(toy: ToyLab) -> None:
    bench = toy.load().targets[1]
    debug = replace(bench, flavor="debug").traits
    assert bench.traits == Flavor("bench")
    assert bench.traits.exact and not debug.exact
    assert debug.leaks and debug.slow > bench.traits.slow == 1
    assert "ignore_loglevel" in debug.cmdline


def test_select_unknown(toy: ToyLab) -> None:
    with pytest.raises(UserError) as caught:
        config.select(toy.load(), ["arm64-controll"])
    assert "no target 'arm64-controll'; did you mean 'arm64-control'?" in str(
        caught.value
    )
    assert "x86_64-umcg-toy" in (caught.value.hint or "")


def test_whose_headers_a_bundle_is_built_with(toy: ToyLab) -> None:
    lab = toy.load()
    control, patched, lonely = lab.targets
    assert lab.bundle_targets(control) == (patched,)
    assert lab.bundle_targets(patched) == (patched,)
    # A second ABI of that base, and another target of the first.
    other = replace(patched, name="other", abi="umcg-other")
    twin = replace(patched, name="twin", smp=2)
    more = replace(lab, targets=(*lab.targets, twin, other))
    assert more.bundle_targets(control) == (patched, other)
    with pytest.raises(UserError, match="no patched target of arm64"):
        lab.bundle_targets(lonely)
