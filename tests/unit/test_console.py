"""What the console prints, where, and what it keeps to itself."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress

import pytest

from migrator import formatting
from migrator.errors import MigrateError, TargetError
from migrator.events import Event, Notice, StepAdvanced, StepFinished, StepStarted, as_dry_run
from migrator.masking import Secrets
from migrator.terminal import progress
from migrator.terminal.console import Console

SHOWS_CURSOR = "\x1b[?25h"
HIDES_CURSOR = "\x1b[?25l"
STEP: tuple[Event, ...] = (
    StepStarted(step="load users", total=1200),
    StepAdvanced(step="load users", done=600),
    StepFinished(step="load users", note="1,200 documents"),
)


Watch = Callable[[Callable[[Console], None]], str]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Runs a piece of work with a console on a terminal of 100 columns, and gives what was written there."""
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "100"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def watch(work: Callable[[Console], None]) -> str:
        stream = Terminal()
        with redirect_stdout(stream), redirect_stderr(stream):
            work(Console())
        return stream.getvalue()

    return watch


def emit_all(console: Console, *events: Event) -> None:
    with console:
        for event in events:
            console.emit(event)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("did not happen within two seconds")


def test_a_step_is_two_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets the start and the end of a step, and no control characters."""
    emit_all(Console(), *STEP)
    out, err = capsys.readouterr()
    started, done = out.splitlines()
    assert started == "Loading users: started, 1,200 documents"
    assert done.startswith("Loading users: done in 0.")
    assert done.endswith(" s, 1,200 documents")
    assert err == ""


def test_a_rehearsal_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Every step of a dry run says so; notices are unchanged."""
    with Console() as console:
        for event in (*STEP, Notice(text="a remark")):
            as_dry_run(console.emit)(event)
    started, done, remark = capsys.readouterr().out.splitlines()
    assert started == "Dry run: loading users: started, 1,200 documents"
    assert done.startswith("Dry run: loading users: done in ")
    assert remark == "a remark"


def test_a_long_step_gives_a_sign_of_life(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line comes every few seconds, whether or not the step reports anything."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    seen: list[str] = []

    def line_came() -> bool:
        seen.append(capsys.readouterr().out)
        return "600 of 1,200 documents in " in "".join(seen)

    with Console() as console:
        for event in STEP[:2]:
            console.emit(event)
        wait_for(line_came)
    assert " left" in "".join(seen)


def test_no_thread_outlives_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the console ends its heart beat."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with Console() as console:
        console.emit(STEP[0])
        mine = [thread for thread in threading.enumerate() if thread.name == "progress"]
        assert mine
    wait_for(lambda: not any(thread.is_alive() for thread in mine))


def test_json_leaves_stdout_to_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output is exactly one JSON document; all else is on standard error."""
    console = Console(json=True)
    emit_all(console, *STEP, Notice(text="a remark"))
    console.table(["name"], [["users"]])
    console.print_json({"ok": True, "tables": {"users": 3}, "text": "größer"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": True, "tables": {"users": 3}, "text": "größer"}
    assert "Loading users: started" in err
    assert "a remark" in err


def test_quiet_leaves_errors_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet only errors and the result are printed: no progress, no notices, no warnings."""
    console = Console(quiet=True)
    emit_all(console, *STEP, Notice(text="a remark"), Notice(text="careful", level="warning"))
    console.print("the result")
    console.error(MigrateError("broken"))
    out, err = capsys.readouterr()
    assert out.splitlines() == ["the result"]
    assert err.splitlines() == ["error: broken"]


def test_an_error_has_causes_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """An error is printed with every cause it was raised from, and with the remedy last."""
    try:
        try:
            try:
                raise OSError("disk on fire")
            except OSError as error:
                raise RuntimeError("cannot write") from error
        except RuntimeError as error:
            raise TargetError("the load failed", "call the fire brigade") from error
    except TargetError as error:
        Console().error(error)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: the load failed",
        "because: RuntimeError: cannot write",
        "because: OSError: disk on fire",
        "hint: call the fire brigade",
    ]


def test_a_cause_is_not_told_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that already quotes its cause is enough."""
    error = MigrateError("failed: OSError: no space")
    error.__cause__ = OSError("no space")
    Console().error(error)
    assert capsys.readouterr().err.splitlines() == ["error: failed: OSError: no space"]


def test_causes_in_a_ring_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Two errors that cause each other are printed once each."""
    first, second = MigrateError("one"), MigrateError("two")
    first.__cause__, second.__cause__ = second, first
    Console().error(first)
    assert capsys.readouterr().err.splitlines() == ["error: one", "because: two"]


@pytest.mark.parametrize(("verbose", "asked"), [(True, None), (False, True)])
def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str], verbose: bool, asked: bool | None) -> None:
    """The traceback comes with -v only."""
    console = Console(verbose=verbose)
    console.error(MigrateError("x"), verbose=False)
    assert "MigrateError" not in capsys.readouterr().err
    console.error(MigrateError("x"), verbose=asked)
    assert "\nMigrateError: x" in capsys.readouterr().err


def test_secrets_stay_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is printed is masked: by pattern, and by value once the config is known."""
    console = Console(verbose=True)
    console.mask = Secrets(["hunter22"]).mask
    url = "postgresql://app:pass-word@host/db"
    cause = ValueError(f"tried {url}")
    error = TargetError("hunter22 is wrong", f"check {url}")
    error.__cause__ = cause
    emit_all(console, StepStarted(step=url), StepFinished(step=url, note="hunter22"), Notice(text=url))
    console.error(error)
    console.table(["hunter22 is a name"], [[url], ["hunter22"]], title=url)
    console.print_json({"url": url, "list": ["hunter22", (url,)]})
    printed = "".join(capsys.readouterr())
    assert "pass-word" not in printed
    assert printed.count("hunter22") == 1  # the column's name is the program's own word
    assert "***" in printed


def test_json_stays_json_when_masked(capsys: pytest.CaptureFixture[str]) -> None:
    """Masking does not reach over the end of a value."""
    Console(json=True).print_json({"url": "postgresql://u:p@ss@h/d", "mail": "a@b.example"})
    assert json.loads(capsys.readouterr().out) == {"url": "postgresql://u:***@h/d", "mail": "a@b.example"}


def test_texts_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup and escape sequences in a document's text are printed as they are written."""
    console = Console()
    console.print("[bold]x[/bold] \x1b[2J :smile:")
    console.table(["a"], [["[red]\x07"]])
    out = capsys.readouterr().out
    assert out.startswith("[bold]x[/bold] \\x1b[2J :smile:\n")
    assert "[red]\\x07" in out


def test_long_lines_are_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    """A path of 300 characters can still be copied from a log."""
    Console().print("x" * 300)
    assert capsys.readouterr().out == "x" * 300 + "\n"


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers stand to the right with thousands separated, nothing is an empty cell."""
    Console().table(["table", "rows", "ok"], [["users", 12345, True], ["messages", 7, None], ["x", 0.5, False]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].split() == ["table", "rows", "ok"]
    assert lines[2].split() == ["users", "12,345", "yes"]
    assert lines[3].split() == ["messages", "7"]
    assert lines[3].endswith("     7")
    assert lines[4].split() == ["x", "0.50", "no"]


def test_a_terminal_gets_bars(on_terminal: Watch) -> None:
    """On a terminal a step has a name, a bar, how far it is, its rate and the time left."""
    text = on_terminal(lambda console: emit_all(console, *STEP[:2]))
    assert "━" in text
    assert "600 of 1,200 documents" in text
    assert "/s, " in text
    assert " left" in text


def test_a_finished_step_leaves_a_line(on_terminal: Watch) -> None:
    """On a terminal a finished step stays as one line."""
    text = on_terminal(lambda console: emit_all(console, *STEP))
    assert "✓" in text
    assert "Loading users  1,200 documents" in text


def test_ctrl_c_gives_the_terminal_back(on_terminal: Watch) -> None:
    """However the block ends, the cursor is shown again."""

    def interrupt(console: Console) -> None:
        with suppress(KeyboardInterrupt), console:
            console.emit(STEP[0])
            raise KeyboardInterrupt

    text = on_terminal(interrupt)
    assert HIDES_CURSOR in text
    assert text.rindex(SHOWS_CURSOR) > text.rindex(HIDES_CURSOR)


def test_an_error_ends_the_bars_first(on_terminal: Watch) -> None:
    """An error is not painted over by a progress bar."""

    def fail(console: Console) -> None:
        console.emit(STEP[0])
        console.error(MigrateError("broken"))

    text = on_terminal(fail)
    assert text.rindex(SHOWS_CURSOR) < text.index("broken")


def test_no_color_is_honoured(on_terminal: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes the colours out."""
    red = "\x1b[1;31m"
    assert red in on_terminal(lambda console: console.error(MigrateError("broken")))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in on_terminal(lambda console: console.error(MigrateError("broken")))


def test_force_color_does_not_animate_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI systems set FORCE_COLOR; a log still gets lines and not bars."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    emit_all(Console(), *STEP)
    out = capsys.readouterr().out
    assert "Loading users: started" in out
    assert HIDES_CURSOR not in out


def test_events_of_unknown_steps_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    """Reports on a step that never began are passed over."""
    emit_all(Console(), StepAdvanced(step="ghost", done=1), StepFinished(step="ghost"))
    assert capsys.readouterr().out == ""


def test_events_from_many_threads(capsys: pytest.CaptureFixture[str]) -> None:
    """Workers may report at the same time: every line comes out whole."""
    with Console() as console:
        threads = [
            threading.Thread(target=emit_step, args=(console, f"step {number}"), daemon=True) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 16
    assert all(line.startswith("step ") for line in lines)


def emit_step(console: Console, name: str) -> None:
    console.emit(StepStarted(step=name))
    console.emit(StepFinished(step=name))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3600 * 5 + 60, "5 h 01 min"),
        (-1, "0.0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Durations are as exact as anybody reads them."""
    assert formatting.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "plural", "text"),
    [
        (1, "documents", "1 document"),
        (0, "warnings", "0 warnings"),
        (3219, "documents", "3,219 documents"),
        (1, "indexes", "1 index"),
        (1, "rejected documents", "1 rejected document"),
    ],
)
def test_numbers_agree_with_their_nouns(number: int, plural: str, text: str) -> None:
    """The noun is singular for 1 only."""
    assert formatting.format_count(number, plural) == text
