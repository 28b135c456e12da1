"""The run-time checker that jaxtyping's import hook puts around our functions in tests."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, get_type_hints

from beartype import BeartypeConf, beartype

Function = TypeVar("Function", bound=Callable[..., Any])
CHECKED = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int does for a float, as for mypy


def check(function: Function) -> Function:
    """Check all arguments and the result of a function that promises shapes; mypy is enough for the others.

    ``Self`` cannot be checked: beartype knows it only in classes that it decorates whole.
    """
    try:
        hints: dict[str, Any] = get_type_hints(function)
    except NameError:  # a quoted name that is not defined yet, or for the type checker alone
        hints = function.__annotations__
    promises_shapes = any("jaxtyping" in repr(hint) for hint in hints.values())
    return CHECKED(function) if promises_shapes and Self not in hints.values() else function
