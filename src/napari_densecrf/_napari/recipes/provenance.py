"""How a layer was made: what a result carries in its metadata."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.problem import FromStrokes, layers_of_map
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.loop import Loop
from napari_densecrf._napari.work.reading import Inputs
from napari_densecrf._napari.work.runner import Done, Found, Listener, Runner, Stage, Steps
from napari_densecrf._napari.work.worker import Result

# Hashed in one go: about 5 ms.
PIECE_BYTES = 2**22


def provenance(result: Result, strokes: str | None) -> dict[str, Any]:
    """Return parameters, versions and the inputs' names, as plain values that JSON can hold.

    The fingerprints are an empty dict that `Fingerprints` fills: what is copied shares it.
    """
    return {**provenance_of_request(result.request, result.inputs), "strokes": strokes, "fingerprints": {}}


def provenance_of_request(request: Request, inputs: Inputs) -> dict[str, Any]:
    """Return the same without strokes and fingerprints."""
    problem, region = request.problem, request.region
    return {
        "params": request.params.to_dict(),
        "spacing": list(problem.spacing),
        "image": problem.image.name,
        "channels": [layer.name for layer in problem.channels],
        "map_along": [[one.scale, one.offset] for one in problem.along],
        "probabilities": [layer.name for layer in layers_of_map(problem.map)],
        "from_strokes": isinstance(problem.map, FromStrokes),
        "objects": problem.objects,
        "border": request.border if problem.objects else None,
        "classes": list(inputs.names),
        "values": inputs.values.tolist(),
        "volume": request.frame == "volume",
        "time_sigma": request.time_sigma,
        "window": {"index": list(region.index), "y": list(region.y), "x": list(region.x), "step": region.step},
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    """Return the versions of what takes part; looking them up reads files, too slow for each result."""
    return {name: version(name) for name in ("napari-densecrf", "napari", "numba", "numpy")}


class Fingerprints:
    """Takes the SHA-256 of image, map and strokes as they were read, in a thread of its own.

    They tell these pixels from all others. None that was asked for is given up, however many come after it.
    """

    def __init__(self, loop: Loop) -> None:
        # The thread takes the first off when it is done: what is interrupted is begun anew.
        self._wanted: deque[tuple[dict[str, str], Result]] = deque()
        self._runner = Runner(loop, "napari-densecrf fingerprints", warns=False)

    def add(self, prints: dict[str, str], result: Result) -> None:
        """Write the fingerprints of a result's inputs into a dict, soon."""
        if not prints and all(prints is not one for one, _ in self._wanted):
            self._wanted.append((prints, result))
            self._runner.submit(self._steps, Listener(found=lambda found: found[0].update(found[1])), "fingerprints")

    def close(self) -> None:
        """End the thread at its next step."""
        self._runner.close()

    def _steps(self) -> Steps:
        while self._wanted:
            prints, result = self._wanted[0]
            yield Found((prints, (yield from fingerprints(result))))
            self._wanted.popleft()
        yield Done(None)


def fingerprints(result: Result) -> Generator[Stage, None, dict[str, str]]:
    """Return the SHA-256 of a result's inputs; each step is a piece."""
    inputs = result.inputs
    arrays = {"image": inputs.image}
    if inputs.objects is None:
        arrays["probabilities"] = inputs.probabilities
    else:
        arrays["objects"] = inputs.objects
    if result.request.strokes is not None:
        arrays["strokes"] = result.request.strokes
    prints = {}
    for name, array in arrays.items():
        digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
        for piece in _pieces(array):
            digest.update(np.ascontiguousarray(piece).data)
            yield Stage("fingerprints", 0.0)
        prints[name] = digest.hexdigest()
    return prints


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the array piece by piece, in the order of its pixels."""
    if array.nbytes <= PIECE_BYTES or array.ndim < 2:
        yield array
        return
    n_rows = max(1, PIECE_BYTES * len(array) // array.nbytes)
    for first in range(0, len(array), n_rows):
        rows = array[first : first + n_rows]
        yield from _pieces(rows[0]) if n_rows == 1 else iter([rows])
