"""Makes `python -m migrator` the same as `migrate`."""

from migrator.cli import main

if __name__ == "__main__":
    main()
