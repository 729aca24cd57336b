"""The plots of the benchmarks: speed against case, size and labels, and the error beside pydensecrf2's."""

from __future__ import annotations

from pathlib import Path

import accuracy
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, THEIRS = "#1f6f8b", "#b0b0b0"


def draw(
    names: list[str],
    rows: list[dict[str, float]],
    by_size: dict[int, dict[str, float]],
    by_labels: dict[int, dict[str, float]],
    manner: str,
    path: Path,
) -> None:
    """Write the plots to ``path``, with the manner of timing above them."""
    figure, axes = plt.subplot_mosaic(
        [["cases", "cases", "threads"], ["size", "labels", "error"]], figsize=(13, 7.5), layout="constrained"
    )
    figure.suptitle(manner)
    places = np.arange(len(names))
    for k, (measure, label) in enumerate(
        [("cold", "cold"), ("cached", "weight moved"), ("gamma", "theta_gamma moved")]
    ):
        ratios = [row["pydensecrf2"] / row[measure] for row in rows]
        axes["cases"].bar(places + 0.27 * (k - 1), ratios, 0.25, label=label, color=plt.cm.viridis(0.2 + 0.3 * k))
    axes["cases"].axhline(1, color=THEIRS)
    axes["cases"].set(title="Times faster than pydensecrf2", xticks=places)
    axes["cases"].set_xticklabels([name.replace(" (", "\n(") for name in names], fontsize=7)
    axes["cases"].legend()
    if "cached, one thread" in rows[0]:
        gains = {name: [row[f"{name}, one thread"] / row[name] for row in rows] for name in ("cold", "cached")}
        axes["threads"].boxplot(list(gains.values()), tick_labels=list(gains))
        axes["threads"].set(title="One thread over all threads, time", ylim=(0.9, 2.1))
    else:
        axes["threads"].set_axis_off()
    for key, found, unit in (("size", by_size, "pixels a side"), ("labels", by_labels, "labels")):
        for measure in ("cold", "cached"):
            axes[key].loglog(list(found), [row[measure] for row in found.values()], "o-", label=measure)
        axes[key].set(title=f"Milliseconds by {unit}", xlabel=unit, xticks=list(found), xticklabels=list(found))
        axes[key].xaxis.minorticks_off()
        axes[key].yaxis.set_major_formatter("{x:g}")
        axes[key].grid(axis="y", which="both", alpha=0.2)
        axes[key].legend()
    cases, ours, theirs = accuracy.errors()
    places = np.arange(len(cases))
    axes["error"].barh(places - 0.2, theirs, 0.38, color=THEIRS, label="pydensecrf2")
    axes["error"].barh(places + 0.2, ours, 0.38, color=OURS, label="napari-densecrf")
    axes["error"].set(title="Distance of marginals from the exact solution", yticks=places)
    axes["error"].set_yticklabels(cases, fontsize=8)
    axes["error"].legend()
    figure.savefig(path, dpi=110)
