"""How much of what is open has been refined."""

from __future__ import annotations

from dataclasses import dataclass

from napari_densecrf._napari import words


@dataclass(frozen=True)
class Extent:
    """How much of what is open has been refined.

    Parameters
    ----------
    n_refined, n_all : int
        Slices.
    n_other : int
        Slices that have been refined with other numbers than those of now.
    """

    n_refined: int = 1
    n_all: int = 1
    n_other: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return self.n_refined >= self.n_all

    def __str__(self) -> str:
        """Say it in a few words."""
        return words.slices_refined(self.n_refined, self.n_all, self.n_other)
