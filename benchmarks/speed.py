"""Speed beside pydensecrf2: the two in turn on the same inputs, medians, ratios. Run by `make bench`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean, median

import numba
import numpy as np
from problems import SMOOTHNESS, W1, Problem, labelled, problems, pydensecrf_marginals, square

import napari_densecrf as ndc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference

SIZES = (256, 512, 1024, 2048, 4096)
LABELS = (2, 4, 8, 16, 32, 64)
MEASURES = ("cold", "cached", "gamma")
ENOUGH_AGREEMENT = 0.99
CROP = 56


@dataclass(frozen=True)
class Manner:
    """How to time.

    Parameters
    ----------
    clock : callable
        Seconds.
    typical : callable
        Of the rounds.
    n_rounds : int
    """

    clock: Callable[[], float]
    typical: Callable[[list[float]], float]
    n_rounds: int

    def timed(self, function: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
        """Return milliseconds and the result of a call."""
        started = self.clock()
        result = function()
        return 1e3 * (self.clock() - started), result


def ours(problem: Problem, turn: int, manner: Manner) -> tuple[dict[str, float], np.ndarray]:
    """Return ms of a cold run, of one with the weight moved, of one with theta_gamma moved; and the labels."""
    made: list[ndc.Refiner] = []

    def cold() -> np.ndarray:
        made.append(ndc.Refiner(problem.image, channel_axis=problem.channel_axis))
        return made[0].refine(problem.probabilities, problem.params()).labels

    elapsed, labels = manner.timed(cold)
    moved = {"cached": problem.params(W1 - 1 - 0.1 * turn), "gamma": problem.params(W1, SMOOTHNESS + 0.1 + 0.1 * turn)}
    rows = {
        name: manner.timed(lambda p=p: made[0].refine(problem.probabilities, p).labels)[0] for name, p in moved.items()
    }
    return {"cold": elapsed, **rows}, labels


def measure(problem: Problem, manner: Manner) -> dict[str, float]:
    """Return typical ms, with all threads and with one, and the share of labels that agree with pydensecrf2's."""
    rows: dict[str, list[float]] = {"pydensecrf2": []}
    all_threads = numba.get_num_threads()
    ours(problem, 0, manner)
    for turn in range(manner.n_rounds):
        elapsed, theirs = manner.timed(lambda: pydensecrf_marginals(problem).argmax(axis=0))
        rows["pydensecrf2"].append(elapsed)
        for threads, suffix in ((all_threads, ""), (1, ", one thread"))[:all_threads]:
            numba.set_num_threads(threads)
            found, labels = ours(problem, turn, manner)
            for name, value in found.items():
                rows.setdefault(name + suffix, []).append(value)
        numba.set_num_threads(all_threads)
    return {name: manner.typical(values) for name, values in rows.items()} | {"agree": float((labels == theirs).mean())}


def errors_on_a_crop(problem: Problem) -> tuple[float, float]:
    """Return mean |Q - Q_exact| of ours and of pydensecrf2 on a part of the image."""
    part = problem.crop(CROP)
    exact, _ = reference.refine(part.image, part.probabilities, part.params(), channel_axis=part.channel_axis)
    our = ndc.refine(part.image, part.probabilities, part.params(), channel_axis=part.channel_axis).marginals
    return float(np.abs(our - exact).mean()), float(np.abs(pydensecrf_marginals(part) - exact).mean())


def table(manner: Manner) -> list[dict[str, float]]:
    """Print the seven problems; return their rows."""
    print(f"{'':28}{'pydensecrf2':>12}" + "".join(f"{name:>9}{'x':>6}" for name in MEASURES), end="")
    print(f"{'threads: cold':>15}{'cached':>8}{'agree':>9}")
    rows = []
    for problem in problems():
        row = measure(problem, manner)
        rows.append(row)
        line = f"{problem.name:28}{row['pydensecrf2']:12.0f}"
        line += "".join(f"{row[name]:9.1f}{row['pydensecrf2'] / row[name]:6.1f}" for name in MEASURES)
        gains = [row.get(f"{name}, one thread", row[name]) / row[name] for name in ("cold", "cached")]
        line += f"{gains[0]:15.2f}{gains[1]:8.2f}{100 * row['agree']:8.2f}%"
        print(line, flush=True)
        if row["agree"] < ENOUGH_AGREEMENT:
            near, far = errors_on_a_crop(problem)
            print(f"    from the exact solution, on {CROP} pixels a side: ours {near:.4f}, pydensecrf2 {far:.4f}")
    means = {name: geometric_mean(row["pydensecrf2"] / row[name] for row in rows) for name in MEASURES}
    print("geometric mean: " + ", ".join(f"{name} {mean:.1f} x" for name, mean in means.items()))
    return rows


def scaling(name: str, found: list[tuple[int, Problem]], manner: Manner, per: str) -> dict[int, dict[str, float]]:
    """Print and return the times of ours along an axis."""
    print(f"\n{name:>10}{'cold ms':>10}{'cached ms':>11}{'cached ' + per:>24}")
    rows = {}
    for value, problem in found:
        ours(problem, 0, manner)
        runs = [ours(problem, turn, manner)[0] for turn in range(manner.n_rounds)]
        rows[value] = {key: manner.typical([run[key] for run in runs]) for key in MEASURES}
        n_points = problem.probabilities[0].size
        unit = n_points if per == "ns a pixel" else n_points * (value - 1)
        cached = rows[value]["cached"]
        print(f"{value:>10}{rows[value]['cold']:10.1f}{cached:11.1f}{1e6 * cached / unit:24.1f}", flush=True)
    return rows


def main() -> None:
    """Print the table and the scaling, and draw them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--table-only", action="store_true", help="leave out sizes, labels and the figure")
    parser.add_argument("--figure", type=Path, help="where to write the plots")
    parser.add_argument(
        "--loaded",
        action="store_true",
        help="for a machine that has other work: one thread, its processor time, the least of the rounds",
    )
    options = parser.parse_args()
    manner = Manner(time.perf_counter, median, options.rounds)
    if options.loaded:
        numba.set_num_threads(1)
        manner = Manner(time.thread_time, min, options.rounds)
    told = f"threads: {numba.get_num_threads()}; {manner.clock.__name__}, {manner.typical.__name__} of {options.rounds}"
    print(told + "; ms")
    rows = table(manner)
    if options.table_only:
        return
    few = replace(manner, n_rounds=max(1, options.rounds // 2))
    by_size = scaling("size", [(size, square(size)) for size in SIZES], few, "ns a pixel")
    by_labels = scaling("labels", [(n, labelled(n)) for n in LABELS], few, "ns a pixel and channel")
    if options.figure:
        from figure import draw

        draw([problem.name for problem in problems()], rows, by_size, by_labels, told, options.figure)


if __name__ == "__main__":
    main()
