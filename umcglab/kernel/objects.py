# SPDX-License-Identifier: MIT
"""One object and a link: a kernel with one edit of one file, in seconds.

kbuild notes beside each object how it was made. So that is done again, for the objects
that the edited file gets into, and the file is put back as it was, time stamp and all:
make then finds nothing to compile, not even for a header that half of Linux includes,
and links. Each object is kept as the series has it, to be put back in its turn.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from umcglab.errors import InfraError
from umcglab.host import command
from umcglab.host.cache import digest, file_digest
from umcglab.kernel import kbuild, trees
from umcglab.kernel.kernels import Kernel
from umcglab.kernel.trees import Tree

_SAVED = re.compile(r"^(?:saved)?cmd_\S+ := (.*)$", re.M)
"""What kbuild notes of how an object was made; up to 6.2 by the shorter name."""


@dataclass(frozen=True)
class Compiled:
    """The objects that an edited file gets into, compiled, and not in the tree."""

    folder: Path
    code: Mapping[str, str]
    """The digest of each, debug information aside."""


@dataclass(frozen=True)
class Objects:
    """The objects of a tree that is held."""

    tree: Tree

    @property
    def kept(self) -> Path:
        """Each object of the series as it was, by its name."""
        return self.tree.kept

    def users(self, name: str, sources: Collection[str]) -> tuple[str, ...]:
        """Return the objects that a file of the series gets into.

        A header gets into those of `sources` that include it, and if there are none
        of such, into those of the series.
        """
        if name.endswith(".c"):
            found = [name]
        else:
            found = self._with(name, sources) or self._with(name, self.tree.originals)
        objects = (str(Path(n).with_suffix(".o")) for n in found)
        return tuple(o for o in objects if self._at(o).exists())

    def _with(self, header: str, sources: Iterable[str]) -> list[str]:
        units = sorted(n for n in sources if n.endswith(".c"))
        return [n for n in units if self._includes(n, header)]

    def keep(self, objects: Sequence[str]) -> None:
        """Take a copy of objects that have none yet: they are as the series has them."""
        for name in objects:
            copy = self.kept / name
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                half = copy.with_name(f"{copy.name}.half")
                shutil.copyfile(self._at(name), half)
                half.rename(copy)

    def restore(self) -> None:
        """Have the tree as the series leave it."""
        if self.tree.restore():
            self.tree.built.make(Path(self.tree.kernel.arch.image).name,
                                 LOCALVERSION=self.tree.localversion())  # fmt: skip

    @contextmanager
    def compile(
        self, name: str, text: bytes, objects: Sequence[str]
    ) -> Iterator[Compiled | str]:
        """Yield objects compiled from other `text` of a file, or the compiler's error."""
        self.restore()
        self.keep(objects)
        file = self.tree.built.tree / name
        stat = file.stat()
        with tempfile.TemporaryDirectory(prefix="umcglab-") as tmp:
            error = ""
            try:
                file.write_bytes(text)
                for one in objects:
                    error = error or self._again(one)
            finally:
                shutil.copyfile(self.tree.originals[name], file)
                os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            code = {}
            for one in objects:
                made = Path(tmp) / one
                made.parent.mkdir(parents=True, exist_ok=True)
                if self._at(one).exists():
                    shutil.move(self._at(one), made)
                trees.put(self.kept / one, self._at(one))
                if not error:
                    code[one] = self.code(made)
            yield error or Compiled(Path(tmp), code)

    def original(self, objects: Sequence[str]) -> dict[str, str]:
        """Return the digests of objects as the series has them."""
        self.keep(objects)
        return {name: self.code(self.kept / name) for name in objects}

    def link(self, compiled: Compiled, log: Path) -> Kernel:
        """Return the kernel with these objects, good until the next is made."""
        for name in compiled.code:
            trees.put(compiled.folder / name, self._at(name))
        tree = self.tree
        built = replace(tree.built, log=log)
        image = tree.kernel.arch.image
        built.make(Path(image).name, LOCALVERSION=tree.localversion())
        return replace(
            tree.kernel,
            digest=f"{tree.kernel.digest}-{digest(dict(compiled.code))[:8]}",
            image=built.objects / image,
            vmlinux=built.objects / "vmlinux",
            system_map=built.objects / "System.map",
            log=log,
        )

    def code(self, file: Path) -> str:
        """Return the digest of an object without its debug information."""
        objcopy = f"{self.tree.kernel.arch.cross_compile}objcopy"
        with tempfile.NamedTemporaryFile(suffix=".o") as bare:
            command.output([objcopy, "--strip-debug", str(file), bare.name])
            return file_digest(Path(bare.name))

    def _again(self, name: str) -> str:
        """Compile an object as it was compiled; return the first error, if any."""
        saved = _SAVED.search(self._cmd(name).read_text(errors="replace"))
        if saved is None:
            raise InfraError(f"kbuild does not say how {name} was made")
        built = self.tree.built
        done = command.run(
            ["sh", "-c", f"set -e; {saved[1]}"],
            cwd=built.objects,
            env={**built.environment(), "CCACHE_DISABLE": "1"},
        )
        if not done.returncode:
            return ""
        said = done.stderr + done.stdout
        return kbuild.first_error(said) or f"status {done.returncode}: {said[-200:]}"

    def _at(self, name: str) -> Path:
        return self.tree.built.objects / name

    def _cmd(self, name: str) -> Path:
        file = self._at(name)
        return file.with_name(f".{file.name}.cmd")

    def _includes(self, source: str, header: str) -> bool:
        cmd = self._cmd(str(Path(source).with_suffix(".o")))
        return cmd.exists() and f"../{header} \\" in cmd.read_text(errors="replace")


def of(tree: Tree) -> Objects:
    """Return the objects of a tree, as the series has them from now on."""
    objects = Objects(tree)
    objects.restore()
    return objects
