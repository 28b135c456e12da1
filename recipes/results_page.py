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
_HEAD = """# Results of the bundled weights

`python recipes/results_page.py` makes this page from the results committed below `recipes/`; do not edit it. A test
compares them. [evaluation.md](evaluation.md) explains what the protocols measure. Each section links to a table with
the figures of single classes; `results.json` beside it has those of single items.

Test-side figures decided some of what is shipped, so they flatter the weights a little:
[recipes/default](../recipes/default/README.md#expected-figures) says where. Results of earlier weights are in
[recipes/default/experiments](../recipes/default/experiments/README.md).
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
        f"## `{folder.name}`\n\n"
        f"Protocol `{identity.protocol}`, version {identity.version}; model {identity.model.name}, weights "
        f"{identity.model.hash}; recordings {identity.data_hash}; {seed}{libraries}. "
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
