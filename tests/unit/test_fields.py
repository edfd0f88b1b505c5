"""Classes of fields, beside dataclasses of the same fields: nobody should notice which of the two a class is."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from ovng.fields import Fields, Frozen, field_names, hidden, replace


class Point(Frozen):
    x: int
    y: int = 2
    key: bytes = hidden(default=b"secret")

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Twin:
    x: int
    y: int = 2
    key: bytes = field(default=b"secret", repr=False)


class Nothing(Frozen):
    """No fields."""


class Other(Frozen):
    x: int
    y: int
    key: bytes = b"secret"


@pytest.mark.parametrize(("words", "named"), [((1,), {}), ((1, 5), {}), ((), {"y": 3, "x": 1}), ((1,), {"key": b""})])
def test_as_a_dataclass(words: tuple[Any, ...], named: dict[str, Any]) -> None:
    point, twin = Point(*words, **named), Twin(*words, **named)
    assert (point.x, point.y, point.key) == (twin.x, twin.y, twin.key)
    assert repr(point) == repr(twin).replace("Twin", "Point") and "secret" not in repr(point)
    assert point == Point(*words, **named) and hash(point) == hash(Point(*words, **named))
    assert Point.__match_args__ == Twin.__match_args__ == field_names(point)


@pytest.mark.parametrize(("words", "named"), [((), {}), ((1, 2, b"", 4), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_wrong_arguments(words: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Point, Twin):
        with pytest.raises(TypeError):
            kind(*words, **named)


def test_it_does_not_change() -> None:
    for value in (Point(1), Twin(1)):
        with pytest.raises((AttributeError, FrozenInstanceError)):
            value.x = 2  # type: ignore[misc]
        with pytest.raises((AttributeError, FrozenInstanceError)):
            del value.x
        assert not hasattr(value, "__dict__")


def test_equality_is_of_the_class_too() -> None:
    assert Nothing() == Nothing() and Nothing() and len({Nothing(), Nothing(), Point(1)}) == 2
    assert Point(1) != Other(1, 2) and Point(1) != Point(1, key=b"another")


def test_replace() -> None:
    assert replace(Point(1), y=9) == Point(1, 9) and Point(1, 9).sum == 10
    with pytest.raises(TypeError):
        replace(Point(1), z=1)


def test_patterns() -> None:
    match Point(4, 5):
        case Point(x, y):
            assert (x, y) == (4, 5)


def test_a_field_that_must_be_given_comes_before_those_that_need_not() -> None:
    with pytest.raises(TypeError, match="without a default"):

        class _Wrong(Frozen):
            x: int = 1
            y: int  # type: ignore[misc]


class Counter(Fields):
    """Changes, and is itself and nothing else."""

    step: int
    total: int = 0

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError("a step is 1 or more")


def test_what_changes() -> None:
    one, other = Counter(2), Counter(2)
    one.total += one.step
    assert (one.total, other.total, repr(one)) == (2, 0, "Counter(step=2, total=2)")
    assert one == one and one != other and len({one, other}) == 2
    with pytest.raises(AttributeError):
        one.more = 1  # type: ignore[attr-defined]


def test_what_is_made_is_checked() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Counter(0)
    with pytest.raises(ValueError, match="1 or more"):
        replace(Counter(1), step=0)


def test_fields_are_not_inherited() -> None:
    with pytest.raises(TypeError, match="not inherited"):

        class _More(Point):
            z: int = 0
