"""Write docs/results.md from the committed results of ``querysep evaluate``: recipes/*/results/*/results.json.

Usage: python recipes/results_page.py [--check]

With --check nothing is written; the exit code is 1 where the page is stale. A test does that.
"""

import sys
from pathlib import Path

from querysep.evaluation.report.results import Results, read_results
from querysep.evaluation.report.tables import markdown

ROOT = Path(__file__).parents[1]
PAGE = Path("docs") / "results.md"
_HEAD = """# Results

Made by `python recipes/results_page.py` from the results that are committed below `recipes/`; do not edit it, a test
compares them. What the protocols measure is told in [evaluation.md](evaluation.md). `table.md` holds the figures of
classes too, `results.json` beside it those of single items.
"""


def page(root: Path) -> str:
    """Return the page.

    Args:
        root: of the repository.
    """
    sections = [
        _section(read_results(path), path.parent.relative_to(root))
        for path in sorted(root.glob("recipes/*/results/*/results.json"))
    ]
    return "\n".join([_HEAD, *sections])


def _section(results: Results, folder: Path) -> str:
    identity = results.identity
    groups = [summary for summary in results.summaries if ": " not in summary.name]  # "seen: Dog" is a class
    libraries = ", ".join(f"{name} {version}" for name, version in identity.libraries.items())
    seed = "" if results.seed is None else f"seed {results.seed}; "
    return (
        f"## `{identity.protocol}`, version {identity.version}: {identity.model.name}\n\n"
        f"Weights {identity.model.hash}; recordings {identity.data_hash}; {seed}{libraries}. "
        f"All figures: [{folder}](../{folder}/table.md).\n\n"
        f"```sh\n{results.command}\n```\n\n{markdown(groups, results.headline)}"
    )


def main(root: Path, check: bool) -> int:
    """Write or compare the page.

    Args:
        root: of the repository.
        check: only compare.

    Returns:
        The exit code.
    """
    made = page(root)
    place = root / PAGE
    if check:
        stale = not place.is_file() or place.read_text(encoding="utf-8") != made
        print(f"{PAGE} is {'stale: run python recipes/results_page.py' if stale else 'up to date'}.")
        return int(stale)
    place.write_text(made, encoding="utf-8")
    print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT, "--check" in sys.argv[1:]))
