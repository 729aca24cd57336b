"""How much of what is open has been refined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """How much of what is open has been refined.

    Parameters
    ----------
    n_refined, n_all : int
        Slices.
    """

    n_refined: int = 1
    n_all: int = 1

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return self.n_refined >= self.n_all

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.n_refined} of {self.n_all} slices refined"
