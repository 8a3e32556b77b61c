"""What a stage is: one stream, in order.  `a | b` chains two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any, Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
Next = TypeVar("Next")


class Stage(ABC, Generic[In, Out]):
    """One stream, in order: push every item, then flush once.  No I/O, no clock, no threads.

    A stage object *is* one stream: there is no reset; for another stream, make another stage.  Everything that
    changes while the stream runs is in `state`: a dataclass of numbers, strings, NumPy arrays, values of
    `diarize.types`, and lists, tuples and dicts of these.  Settings and models are not part of it.
    """

    state: Any  # each stage names its own dataclass

    @abstractmethod
    def push(self, item: In, /) -> list[Out]:
        """Take the next item; return what can be said now and will not be taken back by this stage."""

    @abstractmethod
    def flush(self) -> list[Out]:
        """The stream has ended: return the rest.  Nothing may be pushed afterwards."""

    def save(self) -> Any:
        """A copy of the state.  `restore` it into a stage made with the same settings to go on from here."""
        return deepcopy(self.state)

    def restore(self, state: Any) -> None:
        """Go on from a saved state, as if the items pushed before `save` had been pushed here."""
        self.state = deepcopy(state)

    def __or__(self, other: Stage[Out, Next]) -> Stage[In, Next]:
        """`a | b`: what a says goes into b."""
        return Chain(self, other)


class Chain(Stage[In, Out]):
    """Two stages, one after the other, as one stage."""

    def __init__(self, first: Stage[In, Any], second: Stage[Any, Out]) -> None:
        self.first = first
        self.second = second

    def push(self, item: In, /) -> list[Out]:
        return [out for between in self.first.push(item) for out in self.second.push(between)]

    def flush(self) -> list[Out]:
        rest = [out for between in self.first.flush() for out in self.second.push(between)]
        return rest + self.second.flush()

    def save(self) -> Any:
        return (self.first.save(), self.second.save())

    def restore(self, state: Any) -> None:
        first, second = state
        self.first.restore(first)
        self.second.restore(second)
