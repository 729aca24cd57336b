"""Make the pictures of docs/engine.md from the real engine: python docs/make_engine_figures.py [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

import napari_densecrf as ndc
from napari_densecrf.crf import update
from napari_densecrf.crf.lattice import lattice as lattice_module
from napari_densecrf.crf.lattice import vertex_bitmap
from napari_densecrf.crf.lattice.blur import FINE
from napari_densecrf.crf.lattice.features import grid_features, key_strides
from napari_densecrf.crf.lattice.simplex import Found, index_points

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

RUN_COLORS = ("#4477aa", "#cc6677", "#228833", "#aa7733")
INK, PALE, RING = "0.15", "0.82", "#ee8866"
FEW_POINTS = 4


def saved(figure: plt.Figure, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path, dpi=110, facecolor="white")
    plt.close(figure)


def bare(axis: plt.Axes) -> None:
    """Take frame and ticks away."""
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)


def box(axis: plt.Axes, x: float, y: float, text: str, color: str, filled: bool = True) -> None:
    """Draw a number in a rounded box."""
    style = {"facecolor": color, "edgecolor": color} if filled else {"facecolor": "white", "edgecolor": color}
    axis.add_patch(FancyBboxPatch((x - 0.3, y - 0.17), 0.6, 0.34, "round,pad=0,rounding_size=0.08", zorder=3, **style))
    axis.text(x, y - 0.01, text, ha="center", va="center", fontsize=9, color="white" if filled else INK, zorder=4)


def named(axis: plt.Axes, y: float, title: str, lines: str) -> None:
    """Write what a row is, and its arrays, on the left."""
    axis.text(-8.1, y + 0.2, title, fontsize=12, fontweight="bold", va="bottom", color=INK)
    axis.text(-8.1, y + 0.12, lines, fontsize=8.5, va="top", family="monospace", color=INK, linespacing=1.5)


def small_lattice() -> ndc.Lattice:
    """Return the lattice of twelve points in two dimensions, in runs of four."""
    features = np.array([[0.45 * k, (0.0, 0.9)[k % 6 > 2]] for k in range(12)])
    usual = lattice_module.MAX_POINTS_A_RUN
    lattice_module.MAX_POINTS_A_RUN = FEW_POINTS
    try:
        return ndc.Lattice(features)
    finally:
        lattice_module.MAX_POINTS_A_RUN = usual


def draw_runs(path: Path) -> None:
    """Draw which slots each point splats into, and which slots each vertex sums."""
    lattice = small_lattice()
    runs = lattice.runs
    n_slots = len(runs.slot_vertices)
    run_of_slot = np.repeat(np.arange(len(runs.run_slots) - 1), np.diff(runs.run_slots))
    touched = np.unique(runs.slot_vertices)
    ring = [vertex for vertex in range(lattice.n_vertices) if vertex not in touched][:2]
    slot_x = np.arange(n_slots) + 0.6 * run_of_slot
    width = slot_x[-1]
    point_x = np.linspace(0.5, width - 0.5, lattice.n_points)
    # Each vertex below the slots that it sums, as far as there is room.
    shown = [*sorted(touched.tolist(), key=lambda vertex: slot_x[runs.slot_vertices == vertex].mean()), *ring]
    vertex_x = dict(zip(shown, np.linspace(0, width, len(shown)), strict=True))

    figure, axis = plt.subplots(figsize=(14, 5.6), layout="constrained")
    bare(axis)
    for p in range(lattice.n_points):
        run = p // runs.points_a_run
        box(axis, point_x[p], 4, str(p), RUN_COLORS[run])
        for number, weight in zip(runs.vertices[p], runs.weights[p], strict=True):
            there = slot_x[runs.run_slots[run] + number]
            axis.plot([point_x[p], there], [3.83, 2.17], color=RUN_COLORS[run], alpha=0.75, linewidth=0.4 + 4 * weight)
    for k in range(n_slots):
        color = RUN_COLORS[run_of_slot[k]]
        box(axis, slot_x[k], 2, str(k), color)
        axis.plot([slot_x[k], vertex_x[runs.slot_vertices[k]]], [1.83, 0.17], color=color, linewidth=1.2)
    for vertex in shown:
        box(axis, vertex_x[vertex], 0, str(vertex), RING if vertex in ring else INK, filled=vertex not in ring)
    for run in range(len(runs.run_slots) - 1):
        first = slice(run * runs.points_a_run, (run + 1) * runs.points_a_run)
        axis.text(point_x[first].mean(), 4.4, f"run {run}", ha="center", color=RUN_COLORS[run], fontsize=11)
    named(
        axis,
        4,
        "points",
        f"runs.vertices  {runs.vertices.shape} {runs.vertices.dtype}\nruns.weights   {runs.weights.shape} "
        f"{runs.weights.dtype}",
    )
    axis.text(-8.1, 3.0, "splat: one thread a run,\nline width = weight", fontsize=9, style="italic", va="center")
    named(
        axis,
        2,
        "slots",
        f"runs.run_slots {runs.run_slots.shape} {runs.run_slots.dtype}\n               = {runs.run_slots.tolist()}\n"
        "slots          (n_slots + 1,\n                n_channels) float32",
    )
    axis.text(-8.1, 0.82, "gather: a vertex sums its slots", fontsize=9, style="italic", va="center")
    named(
        axis,
        0,
        "vertices",
        f"runs.slot_vertices {runs.slot_vertices.shape} {runs.slot_vertices.dtype}\n"
        f"neighbours.up, down {lattice.neighbours.up.shape} {lattice.neighbours.up.dtype}",
    )
    n_ring = lattice.n_vertices - len(touched)
    text = f"orange frame: a vertex of the ring, without a slot (2 of {n_ring} are shown)"
    axis.text(width, -0.45, text, ha="right", fontsize=9)
    axis.set(xlim=(-8.2, width + 0.5), ylim=(-0.75, 4.7))
    saved(figure, path)


def elevation() -> np.ndarray:
    """Return (3, 2): what elevates two features, see `_elevate` in simplex.py."""
    return np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]])


def draw_walk(path: Path) -> None:
    """Draw the vertices of one simplex as a walk of keys."""
    point = np.array([[-2.43, -1.18]], np.float32)
    corners = np.array([[-5, -5], [0, 0]], np.float32)
    features = grid_features((), (), np.empty(0), np.concatenate([point, corners]), np.ones(2))
    scales = FINE.scales(2)
    strides = key_strides(features, scales)
    found = Found(
        np.empty((3, 3), np.uint16), np.empty((3, 3), np.float32), np.empty(3, np.float32), np.empty((1, 9), np.int64)
    )
    index_points(strides, scales, features, FINE.diagonal_terms(2).astype(np.float32), 3, found)
    keys, weights = found.run_keys[0, :3], found.weights[0]
    steps = np.array([3 * stride - sum(strides) for stride in strides])
    axes = [steps.tolist().index(difference) for difference in keys - np.roll(keys, -1)]
    moves = np.linalg.lstsq(elevation(), 3 * np.eye(3) - 1, rcond=None)[0].T / np.array(scales)
    offsets = np.concatenate([np.zeros((1, 2)), -np.cumsum(moves[axes[:2]], axis=0)])
    places = point[0] + offsets - weights @ offsets

    figure, axis = plt.subplots(figsize=(9.2, 5.6), layout="constrained")
    bare(axis)
    for a in range(-6, 7):
        for b in range(-6, 7):
            here = places[0] + a * moves[0] + b * moves[1]
            axis.plot(*here, "o", color=PALE, markersize=5, zorder=1)
            for move in moves:
                axis.plot(*zip(here, here + move, strict=True), color=PALE, linewidth=0.8, zorder=0)
    axis.fill(*places.T, color=RUN_COLORS[0], alpha=0.13, zorder=1)
    middle = places.mean(axis=0)
    for r in range(3):
        start, end = places[r], places[(r + 1) % 3]
        axis.annotate(
            "",
            end,
            start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": RUN_COLORS[0],
                "linewidth": 2,
                "linestyle": "--" if r == 2 else "-",
                "shrinkA": 9,
                "shrinkB": 9,
            },
        )
        between = (start + end) / 2
        away = (between - middle) / np.linalg.norm(between - middle)
        axis.text(
            *(between + 0.34 * away),
            f"back along axis {axes[r]}:\n{-steps[axes[r]]:+d}",
            ha="center",
            va="center",
            fontsize=10,
            color=RUN_COLORS[0],
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
        )
        out = (start - middle) / np.linalg.norm(start - middle)
        axis.plot(*start, "o", color=INK, markersize=11, zorder=5)
        axis.text(
            *(start + 0.42 * out),
            f"vertex {r} of the walk\nkey {keys[r]}, {keys[r]} mod 3 = {keys[r] % 3}\nweight {weights[r]:.2f}",
            ha="center",
            va="center",
            fontsize=10,
            bbox={"facecolor": "white", "edgecolor": PALE, "boxstyle": "round"},
            zorder=6,
        )
    axis.plot(*point[0], "x", color=RUN_COLORS[1], markersize=11, markeredgewidth=3, zorder=6)
    axis.text(
        middle[0] + 0.08,
        middle[1] - 0.98,
        f"strides = {strides}\nsteps = 3 strides - {sum(strides)} = {tuple(steps.tolist())}\n"
        "The three steps add up to 0: the walk is a circle.",
        fontsize=10,
        family="monospace",
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": PALE, "boxstyle": "round"},
        zorder=7,
    )
    axis.set(xlim=(middle[0] - 2.0, middle[0] + 2.0), ylim=(middle[1] - 1.02, middle[1] + 1.25), aspect="equal")
    saved(figure, path)


def draw_bitmap(path: Path) -> None:
    """Draw the words of the bitmap of a small lattice: touched vertices, their ring, ranks."""
    rng = np.random.default_rng(4)
    along = np.linspace(0, 6, 60)
    positions = np.stack([along, 1.2 + np.sin(along) + 0.1 * rng.normal(size=60)], axis=1).astype(np.float32)
    features = grid_features((), (), np.empty(0), positions, np.ones(2))
    scales = FINE.scales(2)
    strides = key_strides(features, scales)
    found = Found(
        np.empty((60, 3), np.uint16),
        np.empty((60, 3), np.float32),
        np.empty(60, np.float32),
        np.empty((1, 180), np.int64),
    )
    counts = index_points(strides, scales, features, FINE.diagonal_terms(2).astype(np.float32), 60, found)
    steps = np.array([3 * stride - sum(strides) for stride in strides])
    page, margin = vertex_bitmap.PAGE, 2 * vertex_bitmap.PAGE
    lowest, _ = vertex_bitmap.key_range(found.run_keys, counts)
    first = (lowest - 2 * int(abs(steps).max())) // 64 * 64
    touched, busy = np.zeros(page + 2 * margin, np.uint64), np.zeros(6, np.bool_)
    vertex_bitmap.mark(found.run_keys, counts, first - 64 * margin, touched, busy)
    bits, filled, ranks = np.zeros(page, np.uint64), np.empty(1, np.bool_), np.empty(page, np.uint32)
    vertex_bitmap.add_ring(filled.size, steps, touched, busy, margin, bits, filled)
    n_vertices = vertex_bitmap.rank(bits, filled, ranks)

    def spread_out(words: np.ndarray) -> np.ndarray:
        return (words[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).astype(int)

    rows = np.flatnonzero(bits)
    here, inner = spread_out(bits)[rows[0] : rows[-1] + 1], spread_out(touched[margin:])[rows[0] : rows[-1] + 1]
    figure, axis = plt.subplots(figsize=(12.5, 0.9 + 0.33 * len(here)), layout="constrained")
    bare(axis)
    for w, row in enumerate(here):
        for b, bit in enumerate(row):
            color = RUN_COLORS[0] if inner[w, b] else RING if bit else "0.94"
            axis.add_patch(Rectangle((b, w), 0.86, 0.86, facecolor=color))
        axis.text(-0.7, w + 0.43, f"bits[{rows[0] + w}]", ha="right", va="center", fontsize=9, family="monospace")
        axis.text(
            64.7, w + 0.43, f"ranks[{rows[0] + w}] = {ranks[rows[0] + w]}", va="center", fontsize=9, family="monospace"
        )
    axis.text(0, -0.5, "bit 0", fontsize=9)
    axis.text(64, -0.5, "bit 63", fontsize=9, ha="right")
    w, b = np.argwhere(inner)[len(np.argwhere(inner)) // 2 - 2]
    before = here[w, :b].sum()
    axis.add_patch(Rectangle((b, w), 0.86, 0.86, fill=False, edgecolor="black", linewidth=2.2))
    for step in [*steps, *-steps]:
        row, column = divmod(64 * w + b + step, 64)
        axis.plot(column + 0.43, row + 0.43, "o", color="black", markersize=5)
    bottom = len(here) + 0.9
    axis.add_patch(Rectangle((0, bottom - 0.43), 0.86, 0.86, facecolor=RUN_COLORS[0]))
    axis.text(1.3, bottom, "a vertex that points touch", va="center", fontsize=10)
    axis.add_patch(Rectangle((14, bottom - 0.43), 0.86, 0.86, facecolor=RING))
    axis.text(15.3, bottom, "a vertex of the ring", va="center", fontsize=10)
    text = f"framed: vertex {ranks[rows[0] + w]} + {before} = {ranks[rows[0] + w] + before} of {n_vertices}"
    axis.text(26, bottom, f"{text}, its rank and the bits set before it", va="center", fontsize=10)
    told = ", ".join(f"{step:+d}" for step in steps)
    text = f"A step along axis 0, 1, 2 is {told} bits, for every vertex. Dots: the six neighbours of the framed one."
    axis.text(0, bottom + 1.2, text, va="center", fontsize=10)
    axis.set(xlim=(-6, 76), ylim=(bottom + 1.9, -1.1))
    saved(figure, path)


def draw_parts(path: Path) -> None:
    """Draw how a run of an image is cut into strips and parts of lines, and where its arrays stay."""
    width, n_lines, shown = 1800, 24, 1
    points = lattice_module.MAX_POINTS_A_RUN
    length = update.pixels_a_part(1)
    figure, (axis, table) = plt.subplots(1, 2, figsize=(14, 5.6), width_ratios=(1.45, 1), layout="constrained")
    bare(axis)
    for line in range(n_lines):
        for run in range(line * width // points, ((line + 1) * width - 1) // points + 1):
            first, last = max(line * width, run * points), min((line + 1) * width, (run + 1) * points)
            color = RUN_COLORS[run % 4]
            place = (first - line * width, line)
            strength = 0.75 if run == shown else 0.25
            axis.add_patch(Rectangle(place, last - first, 0.88, facecolor=color, alpha=strength))
    begin, end = shown * points, (shown + 1) * points
    turn, middles = 0, []
    for left in range(0, width, length):
        axis.plot([left, left], [-0.4, n_lines], color="white", linewidth=2.5)
        right = min(left + length, width)
        for line in range(begin // width, (end - 1) // width + 1):
            first, last = max(line * width + left, begin), min(line * width + right, end)
            if first < last:
                turn += 1
                middles.append(((first + last) / 2 - line * width, line + 0.44))
                axis.text(*middles[-1], str(turn), ha="center", va="center", fontsize=8, color="white")
        axis.text((left + right) / 2, -0.5, f"strip {left // length}\n{right - left} wide", ha="center", fontsize=9)
    for run in range(-(-n_lines * width // points)):
        middle = (run * points + min((run + 1) * points, n_lines * width)) / (2 * width)
        axis.text(-25, middle, f"run {run}", ha="right", va="center", color=RUN_COLORS[run % 4])
    axis.set(xlim=(-180, width + 5), ylim=(n_lines, -2.4))
    axis.set_title(
        f"an image {width} pixels wide: runs of {points:,} points;\nof run {shown} the parts of lines, in their turn",
        fontsize=11,
    )
    bare(table)
    kib = 4 * length / 1024
    rows = [
        ("first cache: one part of a line", RUN_COLORS[1], True),
        (f"scratch.received, differences, z, row:\n{kib:.0f} KiB each and channel, 16 KiB at most", INK, False),
        ("written by one step, read by the next", "0.4", False),
        ("second cache: one run", RUN_COLORS[2], True),
        ("blurred, slots: 4 bytes a slot and channel", INK, False),
        ("read and added to by every point of the run", "0.4", False),
        ("old_along_z: the lines that the taps in y reach", INK, False),
        ("of one strip, so that they are still there\nfor the next line", "0.4", False),
        ("memory: once through, from first to last", RUN_COLORS[0], True),
        ("runs.vertices, runs.weights: 6 (d + 1) bytes a pixel", INK, False),
        ("unary, old, new: 4 bytes a pixel and channel", INK, False),
        ("diagonal, total: 4 bytes a pixel", INK, False),
    ]
    y = 0.98
    for text, color, heading in rows:
        table.text(
            0.0 if heading else 0.05, y, text, fontsize=11 if heading else 10, color=color, va="top",
            fontweight="bold" if heading else "normal", transform=table.transAxes,
        )  # fmt: skip
        y -= 0.078 + 0.055 * text.count("\n")
    saved(figure, path)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    draw_runs(folder / "engine-runs.png")
    draw_walk(folder / "engine-walk.png")
    draw_bitmap(folder / "engine-bitmap.png")
    draw_parts(folder / "engine-parts.png")
