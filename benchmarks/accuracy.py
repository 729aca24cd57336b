"""Error against the exact solution beside pydensecrf2, on the test cases; how the lattice's constants were chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import napari_densecrf as ndc
from napari_densecrf.lattice import COARSE, FINE, Blur

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference
from cases import all_cases
from test_accuracy import pydensecrf_marginals


def main() -> None:
    """Print mean |Q - Q_exact| over pydensecrf2's, for several blurs."""
    cases = all_cases()
    exact = [reference.refine(case.image, case.probabilities, case.params, **case.options)[0] for case in cases]
    theirs = [np.abs(pydensecrf_marginals(case) - q).mean() for case, q in zip(cases, exact, strict=True)]
    print("error over pydensecrf2's: total, then " + ", ".join(case.name for case in cases))
    for blur in (FINE, COARSE, Blur(1, 0.42, 1.0), Blur(1, 0.5, 1.0), Blur(2, 0.5, 1.75**0.5)):
        # Every lattice takes this blur, whatever its probe says.
        sys.modules["napari_densecrf.refine"].suited_blur = lambda *_, blur=blur: blur
        errors = [
            np.abs(ndc.refine(case.image, case.probabilities, case.params, **case.options).marginals - q).mean()
            for case, q in zip(cases, exact, strict=True)
        ]
        ratios = " ".join(f"{ours / other:5.2f}" for ours, other in zip(errors, theirs, strict=True))
        print(f"{sum(errors) / sum(theirs):.3f}  {ratios}  {blur}")


if __name__ == "__main__":
    main()
