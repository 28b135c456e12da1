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
        _ = querysep.no_such_name  # type: ignore[attr-defined]


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
        if len(text.splitlines()) > 300:
            too_long[path.name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                documentation = ast.get_docstring(node) or ""
                lines = node.end_lineno - node.body[0].lineno + 1 - len(documentation.splitlines())
                if lines > 50:
                    too_long[f"{path.name}:{node.name}"] = lines
    assert not too_long
