"""The package as a whole: what importing it costs, and which way its imports go."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import querysep

SOURCE = Path(__file__).parents[1] / "src" / "querysep"
LONGEST_FILE, LONGEST_FUNCTION = 600, 50
HEAVY = ("torch", "numpy", "matplotlib", "rich.progress", "pydantic", "soundfile", "lightning")


def _modules_after(code: str) -> set[str]:
    report = "; import sys; sys.stdout.write(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize("code", ["import querysep", "import querysep.cli.main", "import querysep.errors"])
def test_import_stays_light(code: str) -> None:
    loaded = _modules_after(code)
    assert "querysep" in loaded
    assert not loaded.intersection(HEAVY)


def test_statistics_load_matplotlib_only_to_draw() -> None:
    assert "matplotlib" not in _modules_after("import querysep.data.statistics")


def test_every_module_can_be_imported() -> None:
    for module in walk_packages(querysep.__path__, "querysep."):
        if module.name.startswith("querysep.training"):
            pytest.importorskip("lightning", reason="the extra 'train' is not installed")
        import_module(module.name)


def test_exports_exist() -> None:
    assert querysep.__all__
    for name in querysep.__all__:
        assert getattr(querysep, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = querysep.no_such_name


def test_imports_go_one_way() -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=SOURCE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_no_module_is_named_after_nothing() -> None:
    assert not [path for path in SOURCE.rglob("*.py") if path.stem in ("utils", "common", "helpers", "misc")]


def test_files_stay_readable() -> None:
    too_long = {}
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > LONGEST_FILE:
            too_long[path.name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > LONGEST_FUNCTION:
                too_long[f"{path.name}:{node.name}"] = _lines(node)
    assert not too_long


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count what a function does: neither its docstring nor its signature, which holds all options of a command."""
    first = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - first[0].lineno + 1 if first else 0


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_lines_of_a_function_are_those_of_its_body(kind: str) -> None:
    code = f"{kind} one(\n    a,\n):\n    '''Say.\n\n    More.\n    '''\n    a = 1\n    return a\n"
    (function,) = ast.parse(code).body
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    assert _lines(function) == 2
