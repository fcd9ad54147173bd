"""The types of a config's values: mappings and lists that cannot be changed, and numbers within bounds.

In and out: nothing. Owns no file.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, NoReturn, Self, TypeVar

from pydantic import BeforeValidator, Field

T = TypeVar("T")


class FrozenDict(dict[str, T]):
    """A mapping that cannot be changed, as the models around it cannot."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a study's config cannot be changed: give another one to Study.create(..., config=...)")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> dict[str, T]:
        return {key: deepcopy(value, memo) for key, value in self.items()}


def frozen(value: Mapping[str, T]) -> FrozenDict[T]:
    """The same mapping, unchangeable."""
    return FrozenDict(value)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# TOML gives lists; a tuple cannot be changed afterwards.
Several = BeforeValidator(_as_tuple)
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
