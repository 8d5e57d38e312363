"""Writes docs/reference.md from the program itself; `--check` tells whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mta.cli.reference import reference  # noqa: E402

PATH = ROOT / "docs" / "reference.md"


def main() -> int:
    """Write or check; 1 if the file is out of date."""
    text = reference()
    if "--check" in sys.argv[1:]:
        return int(PATH.read_text(encoding="utf-8") != text)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
