"""`python -m docs.generate`: writes the generated pages of `docs/reference`; `--tutorial` reruns the tutorials."""

from __future__ import annotations

import sys

from docs.generate import pages, tutorial


def main() -> None:
    pages.write_all()
    if "--tutorial" in sys.argv[1:]:
        tutorial.refresh()


if __name__ == "__main__":
    main()
