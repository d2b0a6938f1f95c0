"""The command's entry point, for `migrate` and for `python -m migrator`.

It imports nothing at the top: every worker process imports the main script again, and the script imports this module.
"""


def main() -> None:
    """Run the command line."""
    import gc

    gc.disable()  # until the modules of the command are imported: `collect_after_imports`
    from migrator.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
