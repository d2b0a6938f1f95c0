"""Prints everything: events as progress, errors with cause and remedy, tables, and the JSON document of --json.

With bars.py the only importer of rich. All output passes through here: secrets are masked, control characters escaped.
Not here: the text of messages, and which command prints what.
"""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rich import box
from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from migrator import __version__
from migrator.errors import MigrateError
from migrator.events import Event, Notice, StepAdvanced, StepFinished, StepStarted
from migrator.masking import mask
from migrator.redaction import describe_error, format_traceback
from migrator.terminal.bars import Bars
from migrator.terminal.clean_text import CONTROLS_IN_JSON, clean, clean_json, one_line
from migrator.terminal.log_file import LogFile
from migrator.terminal.progress import Lines, Step, Throttled, View, title_of

_MARKS = {"✓": "bold green", "✗": "bold red"}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table without a title."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


Block = str | Grid


class Console:
    """Prints results to standard output and errors to standard error; progress to standard output unless that is JSON.

    As a context manager it restores the terminal at the end, also after Ctrl-C.
    `mask` may be replaced by one that knows the secrets of a configuration (`Secrets.mask`).
    """

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.mask: Callable[[str], str] = mask
        self.json, self.quiet, self.verbose = json, quiet, verbose
        self._stdout = _make_rich(sys.stdout)
        self._stderr = _make_rich(sys.stderr)
        self._main = self._stderr if json else self._stdout
        self._lock = threading.RLock()  # events come from several threads
        self._steps: dict[str, Step] = {}
        view: View = Bars(self._main) if _is_terminal(self._main) else Lines(self._write, self._lock)
        self._views: list[View] = [] if quiet else [view]
        self._log: LogFile | None = None

    def open_log(self, path: Path) -> None:
        """Writes all messages to a file, too, also those that --quiet suppresses. Raises: `UsageError`."""
        self._log = LogFile(path)
        self._views.append(Lines(self._write_log, self._lock))
        self._write_log(f"migrate {__version__}: {shlex.join(sys.argv[1:])}")

    def end_log(self, exit_code: int) -> None:
        """Writes the exit code as the last line of the log, and closes it."""
        if self._log is not None:
            self._write_log(f"exit code {exit_code}")
            self._log.close()
            self._log = None

    def _write_log(self, text: str) -> None:
        if self._log is not None:
            self._log.write(clean(text, self.mask))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None without a terminal."""
        return self._main.width if _is_terminal(self._main) else None

    def close(self) -> None:
        """Ends the progress display; the next event starts it again. Can be called twice."""
        with self._lock:
            self._steps.clear()
            for view in self._views:
                view.close()

    def emit(self, event: Event) -> None:
        """Displays an event. This is the `Emit` of stages and workflows."""
        with self._lock:
            match event:
                case Notice():
                    self._notice(event)
                case StepStarted():
                    step = self._steps[event.step] = Step(
                        one_line(title_of(event.step), self.mask), event.total, event.unit
                    )
                    for view in self._views:
                        view.start(step)
                case StepAdvanced() if event.step in self._steps:
                    step = self._steps[event.step]
                    step.done = event.done
                    step.total = event.total or step.total
                    step.note = event.note
                    for view in self._views:
                        view.advance(step)
                case StepFinished() if event.step in self._steps:
                    step = self._steps.pop(event.step)
                    for view in self._views:
                        view.finish(step, one_line(event.note, self.mask))

    def _notice(self, event: Notice) -> None:
        warning = event.level == "warning"
        self._write_log(f"warning: {event.text}" if warning else event.text)
        if not self.quiet:
            self._write(*([("warning: ", "bold yellow"), event.text] if warning else [event.text]))

    def print(self, text: str) -> None:
        """Prints one line of a result, even with --quiet. A leading ✓ or ✗ is coloured."""
        style = _MARKS.get(text[:1])
        with self._lock:
            self._write_log(text)
            self._write(*([(text[:1], style), text[1:]] if style else [text]))

    def print_json(self, value: object) -> None:
        """Prints the JSON document of --json."""
        text = jsonlib.dumps(clean_json(value, self.mask), ensure_ascii=False, indent=2, default=str)
        text = text.translate(CONTROLS_IN_JSON)
        with self._lock:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
        """Prints a table. Numbers are right-aligned with thousands separators; None is an empty cell."""
        table = self._make_table(columns, [list(row) for row in rows], title)
        with self._lock:
            self._main.print(table)

    def _make_table(self, columns: Sequence[str], values: Sequence[Sequence[object]], title: str = "") -> Table:
        table = Table(title=clean(title, self.mask) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            numeric = any(_is_number(row[index]) for row in values)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in values:
            table.add_row(*(Text(one_line(_cell(value), self.mask)) for value in row))
        return table

    def show(self, blocks: Iterable[Block]) -> None:
        """Prints sentences and tables."""
        for block in blocks:
            if isinstance(block, str):
                self.print(block)
            else:
                self.table(block.columns, block.rows)

    @contextmanager
    def screen(self) -> Iterator[Callable[[Sequence[Block]], None]]:
        """Yields a function that replaces the displayed blocks; without a terminal it prints their first line at times.

        The last blocks stay on the screen.
        """
        if not _is_terminal(self._main):
            lines = Throttled(lambda blocks: self.print(next(each for each in blocks if isinstance(each, str))))
            try:
                yield lines
            finally:
                lines.flush()
            return
        with Live(console=self._main, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield lambda blocks: live.update(Group(*map(self._make_block, blocks)), refresh=True)

    def _make_block(self, block: Block) -> Text | Table:
        if isinstance(block, str):
            return Text(clean(block, self.mask))
        return self._make_table(block.columns, block.rows)

    def error(self, error: BaseException, *, verbose: bool | None = None) -> None:
        """Prints an error with its causes and its hint; with `verbose` also the traceback."""
        with self._lock:
            self.close()
            printed = _describe(error)
            self._print_error(("error: ", "bold red"), printed)
            for cause in _causes(error):
                text = _describe(cause)
                if text not in printed:
                    self._print_error(("because: ", "red"), text)
                    printed += text
            if isinstance(error, MigrateError) and error.hint:
                self._print_error(("hint: ", "bold cyan"), error.hint)
            if self.verbose if verbose is None else verbose:
                self._print_error(format_traceback(error).rstrip())

    def _write(self, *parts: str | tuple[str, str]) -> None:
        _print(self._main, self.mask, parts)

    def _print_error(self, *parts: str | tuple[str, str]) -> None:
        self._write_log("".join(part if isinstance(part, str) else part[0] for part in parts))
        _print(self._stderr, self.mask, parts)


def _make_rich(stream: IO[str]) -> RichConsole:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a terminal whose encoding lacks a character must not cause an error
    # Without a terminal rich would wrap tables at 80 columns.
    return RichConsole(file=stream, highlight=False, emoji=False, width=None if stream.isatty() else 200)


def _is_terminal(console: RichConsole) -> bool:
    # Not rich's is_terminal: FORCE_COLOR makes that true in a pipe, where nothing may be animated.
    return console.file.isatty() and not console.is_dumb_terminal


def _print(console: RichConsole, masked: Callable[[str], str], parts: Sequence[str | tuple[str, str]]) -> None:
    line = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(clean(text, masked), style)
    console.print(line, soft_wrap=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _describe(error: BaseException) -> str:
    if isinstance(error, MigrateError):
        return error.message
    return describe_error(error)


def _causes(error: BaseException) -> Iterable[BaseException]:
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__
