"""Error against the exact solution beside pydensecrf2, on the test cases; how the lattice's constants were chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import napari_densecrf as ndc
from napari_densecrf.crf.lattice.blur import COARSE, FINE, Blur

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference
from cases import all_cases
from test_accuracy import pydensecrf_marginals


def exact_solutions() -> list[np.ndarray]:
    """Return the exact marginals of all cases."""
    return [reference.refine(case.image, case.probabilities, case.params, **case.options)[0] for case in all_cases()]


def our_errors(exact: list[np.ndarray]) -> list[float]:
    """Return mean |Q - Q_exact| of every case."""
    return [
        float(np.abs(ndc.refine(case.image, case.probabilities, case.params, **case.options).marginals - q).mean())
        for case, q in zip(all_cases(), exact, strict=True)
    ]


def their_errors(exact: list[np.ndarray]) -> list[float]:
    """Return the same of pydensecrf2."""
    return [float(np.abs(pydensecrf_marginals(case) - q).mean()) for case, q in zip(all_cases(), exact, strict=True)]


def errors() -> tuple[list[str], list[float], list[float]]:
    """Return the names of the cases, our errors and pydensecrf2's."""
    exact = exact_solutions()
    return [case.name for case in all_cases()], our_errors(exact), their_errors(exact)


def main() -> None:
    """Print our error over pydensecrf2's, for several blurs."""
    exact = exact_solutions()
    theirs = their_errors(exact)
    print("error over pydensecrf2's: total, then " + ", ".join(case.name for case in all_cases()))
    for blur in (FINE, COARSE, Blur(1, 0.42, 1.0), Blur(1, 0.5, 1.0), Blur(2, 0.5, 1.75**0.5)):
        # Every lattice takes this blur, whatever its probe says.
        sys.modules["napari_densecrf.crf.refine"].suited_blur = lambda *_, blur=blur: blur
        ours = our_errors(exact)
        ratios = " ".join(f"{our / other:5.2f}" for our, other in zip(ours, theirs, strict=True))
        print(f"{sum(ours) / sum(theirs):.3f}  {ratios}  {blur}")


if __name__ == "__main__":
    main()
