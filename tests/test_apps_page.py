"""docs/apps.md does what it says: its examples run, at a tiny size, in a copy of the checkout."""

import re
from pathlib import Path

from tests.test_readme import checkout, pairs, run, runs_and_prints, translator  # noqa: F401

PAGE = Path(__file__).parents[1] / "docs" / "apps.md"


def test_the_page_runs_from_its_first_line_to_its_last(checkout):  # noqa: F811
    """The commands on the model in `try`, and the examples; tests/test_docs.py parses the other commands."""
    (checkout / "mine.tsv").write_text(pairs(), encoding="utf-8")
    translator(checkout)
    text, small, done = PAGE.read_text(encoding="utf-8"), "--members 1 --dim 8 --units 8 --buckets 50", set()
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            assert runs_and_prints(block, checkout).strip()
        for line in block.splitlines() if language == "sh" else []:
            if line in done:  # said again, so that the next line can be understood
                continue
            done.add(line)
            if match := re.search(r"apps\.sentiment (\w+) .*--output try", line):
                flags = small if match[1] == "train" and "--resume" not in line else ""
                assert run(["bash", "-c", f"{line} {flags}"], checkout).strip()
