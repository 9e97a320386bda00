# SPDX-License-Identifier: MIT
"""Figures for the report, as SVG that takes its text colour and font from the page.

matplotlib takes half a second to import, so only who draws does so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from umcglab.verdict import stats
from umcglab.verdict.figures import Figure as Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's own colour until the SVG is written."""

COLOURS = {"fair": "#3b82c4", "fifo": "#d9822b"}
LABELS = {"fair": "fair", "fifo": "FIFO"}


def _svg(figure: Figure, name: str) -> str:
    """Return `figure` as an <svg> element; equal data gives equal bytes."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(
        r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text
    )
    # Ids are per document, and the page has several of these.
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(
        r'width="[^"]*pt" height="[^"]*pt"', f'role="img" class="{name}"', text, count=1
    )


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.spines["bottom"].set_alpha(0.3)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def costs(benches: Sequence[Measured], name: str) -> str:
    """Return bars of what one operation costs, both scheduling classes of each."""
    rows = list(dict.fromkeys(b.case.name for b in benches))
    figure, axes = _axes(6.2, 0.42 * len(rows) + 0.75)
    top = max(b.per_op for b in benches)
    for sched, offset in (("fair", -0.19), ("fifo", 0.19)):
        mine = [b for b in benches if b.case.sched == sched]
        where = [rows.index(b.case.name) + offset for b in mine]
        axes.barh(
            where,
            [b.per_op for b in mine],
            height=0.36,
            color=COLOURS[sched],
            label=LABELS[sched],
        )
        for y, b in zip(where, mine, strict=True):
            axes.text(
                b.per_op + top * 0.012,
                y,
                f"{b.per_op:,.0f}",
                va="center",
                fontsize=7.5,
                color=INK,
            )
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlim(0, top * 1.12)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set_xlabel("instructions per operation", color=INK, fontsize=9)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right")
    return _svg(figure, name)


def spreads(benches: Sequence[Measured], name: str) -> str:
    """Return where batches lie around their median, one line per bench and class."""
    rows = [f"{b.case.name} {LABELS[b.case.sched]}" for b in benches]
    figure, axes = _axes(6.2, 0.2 * len(rows) + 0.75)
    for y, b in enumerate(benches):
        middle = stats.median(b.hist)
        biggest = max(n for _, n in b.hist)
        axes.scatter(
            [100 * stats.change(value, middle) for value, _ in b.hist],
            [y] * len(b.hist),
            s=[6 + 60 * n / biggest for _, n in b.hist],
            color=COLOURS[b.case.sched],
            alpha=0.65,
            linewidths=0,
        )
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # A tick in a batch of bare system calls is off by thousands.
    axes.set_xscale("symlog", linthresh=1)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1), max(high, 1))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    axes.set_xlabel(
        "batches, % from their median (linear up to 1 %)", color=INK, fontsize=9
    )
    return _svg(figure, name)
