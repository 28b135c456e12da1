"""The run-time checker that jaxtyping's import hook puts around our functions in tests."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, get_type_hints

from beartype import beartype

Function = TypeVar("Function", bound=Callable[..., Any])


def check(function: Function) -> Function:
    """Check calls against the annotations; leave out what cannot be checked function by function.

    Those are ``Self``, which beartype knows only in classes that it decorates whole, and names imported for the type
    checker alone.
    """
    try:
        hints: dict[str, Any] = get_type_hints(function)
    except NameError:
        return function
    return function if Self in hints.values() else beartype(function)
