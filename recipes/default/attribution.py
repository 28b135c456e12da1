"""Write the attribution of weights: python attribution.py MANIFEST OUTPUT."""

import sys
from collections import Counter
from pathlib import Path

from querysep.data.manifest import read_manifest

INTRO = """# Recordings that these weights were trained on

Clips of the training split, by Debian 12 package or public git repository (repository:owner/name) and license as
the source states it. The authors are named in `/usr/share/doc/<package>/copyright` of each package; `openset build`
writes the lists file by file, for repositories with commit and credit (`ATTRIBUTION_repositories.md`).

| source | license | clips |
| --- | --- | --: |
"""

manifest, output = (Path(argument) for argument in sys.argv[1:3])
used = Counter((clip.source, clip.licence) for clip in read_manifest(manifest) if clip.split == "train")
output.write_text(
    INTRO + "".join(f"| {source} | {licence} | {count} |\n" for (source, licence), count in sorted(used.items()))
)
