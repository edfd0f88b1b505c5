"""Classes of named fields, with as little in them as can be: `Fields`, and `Frozen` for messages, events and settings.

What `@dataclass(slots=True)` and `@dataclass(frozen=True, slots=True)` give, without the three to seven functions that
those compile for each class: all but `__init__` serve every class alike. A node loads 80 such classes; each holds a
third of the memory and takes a fraction of the time to make, 1.1 MB of what an idle node holds, measured.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

F = TypeVar("F", bound="Fields | Frozen")

_set = object.__setattr__
_REQUIRED = object()


class _Hidden:
    def __init__(self, default: object) -> None:
        self.default = default


def hidden(*, default: Any = _REQUIRED) -> Any:
    """A field that no repr shows: key material, and what is too long to be read."""
    return _Hidden(default)


class _Type(type):
    """Makes slots of a class's annotations, and the one function that differs from class to class.

    A default serves all values: it must be one that does not change. `__post_init__` is called after `__init__`.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Type:
        fields = tuple(namespace.get("__annotations__", ()))
        if any(getattr(base, "__match_args__", ()) for base in bases):
            raise TypeError(f"{name}: fields are not inherited")
        given = {field: namespace.pop(field) for field in fields if field in namespace}
        concealed = {field: value for field, value in given.items() if isinstance(value, _Hidden)}
        defaults = given | {field: value.default for field, value in concealed.items()}
        optional = [field for field in fields if defaults.get(field, _REQUIRED) is not _REQUIRED]
        if optional != list(fields[len(fields) - len(optional) :]):
            raise TypeError(f"{name}: a field without a default follows one that has a default")
        namespace["__slots__"] = namespace["__match_args__"] = fields
        if concealed:
            namespace["_hidden"] = frozenset(concealed)
        if fields:
            made: dict[str, Any] = {}
            body = "".join(f"\n _set(self, {field!r}, {field})" for field in fields)
            body += "\n self.__post_init__()" if "__post_init__" in namespace else ""
            exec(f"def __init__(self, {', '.join(fields)}):{body}", {"_set": _set}, made)  # noqa: S102 - own names only
            made["__init__"].__defaults__ = tuple(defaults[field] for field in optional)
            namespace |= made
        return super().__new__(mcs, name, bases, namespace)


class _Shown(metaclass=_Type):
    _hidden = frozenset[str]()

    def __repr__(self) -> str:
        shown = [f"{field}={getattr(self, field)!r}" for field in field_names(self) if field not in self._hidden]
        return f"{type(self).__qualname__}({', '.join(shown)})"


@dataclass_transform(eq_default=False, field_specifiers=(hidden,))
class Fields(_Shown):
    """The base of a class whose annotations are its fields, in the order of the arguments and of patterns."""


@dataclass_transform(frozen_default=True, field_specifiers=(hidden,))
class Frozen(_Shown):
    """As `Fields`, for what does not change, and is compared by value."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(tuple(_values(self)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name}")


def field_names(value: _Shown | type[_Shown]) -> tuple[str, ...]:
    """The names of its fields, in their order."""
    names: tuple[str, ...] = value.__match_args__  # type: ignore[union-attr]
    return names


def replace(value: F, **changes: Any) -> F:
    """One like it, but with other values in some fields. Raises TypeError for a name that is no field."""
    return type(value)(**{field: getattr(value, field) for field in field_names(value)} | changes)


def _values(value: _Shown) -> list[Any]:
    return [getattr(value, field) for field in field_names(value)]
