# SPDX-License-Identifier: MIT
"""What the lab must know of a flavor of kernels, beside its fragment of kconfig."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flavor:
    """One flavor; one that is not in `FLAVORS` is fast and has no detectors."""

    name: str
    slow: int = 1
    """Factor on each time limit, for what instrumentation costs."""
    cmdline: tuple[str, ...] = ()
    """More kernel parameters."""
    exact: bool = True
    """Whether it is measured."""
    leaks: bool = False
    """Whether it has kmemleak, which scans after the last test."""
    patches: str | None = None
    """A folder of kernel-patches with what only such kernels need."""
    threads: int = 1
    """How many virtual CPUs make a core, where they make whole ones."""
    hypervisor: bool = False
    """Whether such guests run guests of their own, for which they are emulated."""
    extends: str | None = None
    """The flavor whose fragments come before those of this one."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The flavors whose fragments make its configuration, in order."""
        return (*(of(self.extends).layers if self.extends else ()), self.name)


_DETECTORS = (
    # That lockdep turns itself off is said at KERN_DEBUG.
    "ignore_loglevel",
    "watchdog_thresh=60",
    "workqueue.watchdog_thresh=120",
)

FLAVORS = {
    flavor.name: flavor
    for flavor in (
        Flavor(
            "debug",
            8,
            # So that kmemleak finds no address of a lost object by chance. U (owners):
            # Linux 7.3 otherwise leaves the address where it took it from. P (poison):
            # a free object otherwise has the address of the next one in its middle, and
            # keeps it when it is allocated; a row of lost objects is then never found.
            (*_DETECTORS, "numa=fake=2", "slab_debug=UP"),
            exact=False,
            leaks=True,
            patches="debug",
        ),
        Flavor("distro", 2, exact=False, threads=2),
        Flavor("kcsan", 8, _DETECTORS, exact=False, patches="debug"),
        Flavor("kvm", extends="bench", exact=False, hypervisor=True),
        Flavor("probed", extends="bench", exact=False),
        Flavor("rt", 2, extends="bench", exact=False),
    )
}


def of(name: str) -> Flavor:
    """Return the flavor of that name."""
    return FLAVORS.get(name, Flavor(name))
