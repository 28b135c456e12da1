"""How often words find the right class: top-1 and top-5 of phrases that no training phrase repeats.

    python benchmarks/text_queries.py [--model NAME|DIR] [--phrases FILE]

Needs the extra 'text' and a model with `querysep labels --text`. Phrases of classes that the model does not have are
left out and counted. "warned" are phrases that a user would be told are far, or of a class that is missing.
"""

import argparse
from pathlib import Path

from querysep.model import load_model
from querysep.queries.text import understand
from querysep.queries.text_training import parse_phrases

PHRASES = Path(__file__).parents[1] / "recipes" / "text" / "test_phrases.txt"


def main() -> None:
    """Measure and print a Markdown table, then the phrases that went elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--phrases", type=Path, default=PHRASES)
    given = parser.parse_args()
    model = load_model(given.model, "cpu")
    if model.label_bank is None or model.text_map is None:
        raise SystemExit("The model has no label bank or no text. See `querysep labels --help`.")
    labels = [row.label for row in model.label_bank.rows]
    phrases = parse_phrases(given.phrases.read_text(encoding="utf-8"))
    known = [phrase for phrase in phrases if phrase.label in labels]
    ranks, weights, warned, missed = [], [], 0, []
    for phrase in known:
        meaning = understand(phrase.words, model.label_bank, model.text_map)
        classes = [labels[row] for row, _ in meaning.classes]
        ranks.append(classes.index(phrase.label) if phrase.label in classes else len(labels))
        weights.append(
            dict(zip(classes, (weight for _, weight in meaning.classes), strict=True)).get(phrase.label, 0.0)
        )
        warned += bool(meaning.warnings)
        if ranks[-1]:
            missed.append(f"{phrase.words}: {phrase.label}; got {classes[0]}")
    print(f"{len(phrases) - len(known)} phrases of classes that the model does not have\n")
    print("| phrases | classes | top-1 | top-5 | mean weight of the class | warned |")
    print("| --: | --: | --: | --: | --: | --: |")
    top_1, top_5 = (sum(rank < count for rank in ranks) / len(ranks) for count in (1, 5))
    mean = sum(weights) / len(weights)
    print(f"| {len(known)} | {len(labels)} | {top_1:.1%} | {top_5:.1%} | {mean:.2f} | {warned / len(known):.1%} |\n")
    print("\n".join(missed))


if __name__ == "__main__":
    main()
