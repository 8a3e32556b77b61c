"""Everybody who is enrolled, as arrays: what a voice is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class People:
    """The enrolled people, each with one reference embedding or more.

    names: of the people, each once.
    references: shape (n, dimensions), float32, unit norm, those of one person next to each other.
    owner: whose each is, shape (n,): the place in `names`, ascending; everybody has a reference.
    fingerprint: of the network that made them; embeddings of another cannot be compared with them.
    Raises ValueError where they are not so.
    """

    names: tuple[str, ...]
    references: NDArray[np.float32]
    owner: NDArray[np.int64]
    fingerprint: str

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(set(self.names)) < count:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"two people are called {twice!r}: rename one of them")
        if self.references.ndim != 2 or self.owner.shape != self.references.shape[:1]:
            raise ValueError(
                "references must have shape (n, dimensions) and owner (n,), "
                f"not {self.references.shape} and {self.owner.shape}"
            )
        if not np.array_equal(np.unique(self.owner), np.arange(count)) or (np.diff(self.owner) < 0).any():
            raise ValueError(f"owner must rise from 0 to {count - 1} and leave nobody out: a reference for each name")
        norms = np.linalg.norm(self.references, axis=1)
        if not np.all(np.abs(norms - 1) < 1e-2):  # False for NaN too; a store may keep half precision
            row = int(np.argmax(~(np.abs(norms - 1) < 1e-2)))
            name = self.names[int(self.owner[row])]
            raise ValueError(f"a reference of {name!r} has the norm {norms[row]:g}: every reference must have norm 1")

    @property
    def starts(self) -> NDArray[np.int64]:
        """The row of each person's first reference, shape (people,)."""
        return np.searchsorted(self.owner, np.arange(len(self.names)))
