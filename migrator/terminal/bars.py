"""Progress bars of steps, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from migrator.formatting import format_duration
from migrator.terminal.progress import Step


class Bars:
    """Displays steps as progress bars; a finished step becomes a line above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def start(self, step: Step) -> None:
        if self._progress is None:
            name = TextColumn("{task.description}", markup=False)
            bar, figures = BarColumn(bar_width=24), _Figures(Column(no_wrap=True))
            self._progress = Progress(SpinnerColumn(), name, bar, figures, console=self._console)
            self._progress.start()
        self._tasks[step.name] = self._progress.add_task(step.name, total=step.total, step=step)

    def advance(self, step: Step) -> None:
        if self._progress is not None:
            self._progress.update(self._tasks[step.name], completed=step.done, total=step.total)

    def finish(self, step: Step, note: str) -> None:
        if self._progress is not None and step.name in self._tasks:
            self._progress.remove_task(self._tasks.pop(step.name))
        line = Text.assemble(
            ("✓ ", "green"), step.name, (f"  {note}" if note else ""), (f"  {format_duration(step.seconds)}", "dim")
        )
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Stops rich's live display, which shows the cursor again."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks.clear()


class _Figures(ProgressColumn):
    """'1,200 of 3,219 documents  240/s, 8 s left'."""

    def render(self, task: Task) -> Text:
        step: Step = task.fields["step"]
        return Text.assemble(step.amount(), "  ", (step.speed(), "dim"))
