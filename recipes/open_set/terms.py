"""Read ``debian/copyright``: who made a file, and under which licence (the DEP-5 format)."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

CONTACT = re.compile(r"<[^>]*>|https?://\S+")
YEARS = re.compile(r"^(?:©|\([cC]\))?\s*[\d,\s–-]*\d{4}(?:\s*[-–,]\s*(?:\d{4}|present))*[,:]?\s*")


@dataclass(frozen=True)
class Terms:
    """Licence and authors of a file."""

    licence: str
    authors: str


@dataclass(frozen=True)
class Paragraph:
    """The files that some terms hold for."""

    patterns: tuple[str, ...]
    terms: Terms


def read_copyright(text: str) -> list[Paragraph]:
    """Read the paragraphs about files.

    Args:
        text: of ``/usr/share/doc/<package>/copyright``.

    Returns:
        In the order of the text: of two that fit a file the later one holds.
    """
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        fields = _fields(block)
        if "files" in fields and "license" in fields:
            patterns = tuple(fields["files"].replace(",", " ").split())
            licence = fields["license"].partition("\n")[0].strip()
            paragraphs.append(Paragraph(patterns, Terms(licence, _authors(fields.get("copyright", "")))))
    return paragraphs


def terms_of(path: str, paragraphs: list[Paragraph]) -> Terms:
    """Find the terms of a file.

    Args:
        path: inside the package, or inside an archive of it. The patterns are about the source
            package, so a pattern fits where it fits the end of the path.
        paragraphs: as ``read_copyright`` gives them.

    Returns:
        The terms of the last paragraph that fits; those of ``*`` where no other does.
    """
    parts = PurePosixPath(path).parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    found = Terms("", "")
    for paragraph in paragraphs:
        for pattern in paragraph.patterns:
            plain = pattern.removeprefix("./")
            if plain == "*" or ("/" in plain and any(fnmatchcase(tail, plain) for tail in tails)):
                found = paragraph.terms
    return found


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if match := re.match(r"^([A-Za-z-]+):\s*(.*)$", line):
            name = match.group(1).lower()
            fields[name] = match.group(2)
        elif name:
            fields[name] += "\n" + line.strip()
    return fields


def _authors(text: str) -> str:
    names = []
    for line in text.splitlines():
        name = YEARS.sub("", CONTACT.sub("", line).strip()).strip(" ,;")
        if name and name not in names:
            names.append(name)
    return "; ".join(names)[:160]
