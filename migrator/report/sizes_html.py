"""The part of a page that says what lies on disk: tables by size, the tool's own apart, indexes on demand."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.formatting import format_size
from migrator.report.components import draw_bar, fold, key, name, section, table
from migrator.report.content import Size, total_size

COLUMNS = ("table", "#rows ≈", "#rows on disk", "#long values", "#indexes", "", "#together")


def render_sizes(sizes: list[Size]) -> Iterator[str]:
    """A section; none where nothing is known."""
    theirs, tools = ([each for each in sizes if each["of_tool"] is wanted] for wanted in (False, True))
    if not theirs:
        return
    most = max(map(total_size, sizes)) or 1
    words = "As PostgreSQL stores it. Row counts are the server's estimate."
    parts = [key("rows", "values", "indexes"), table(COLUMNS, (_line(each, most) for each in theirs))]
    if tools:
        summary = f"Records of migrate: {format_size(sum(map(total_size, tools)))} in {len(tools)} tables"
        parts.append(fold(summary, table(COLUMNS, (_line(each, most) for each in tools))))
    parts.append(_indexes(theirs))
    yield section("What it takes on disk", words, *parts)


def _line(size: Size, most: int) -> tuple[str | int, ...]:
    indexes = sum(size["indexes"].values())
    shares = {"rows": size["table"], "values": size["beside"], "indexes": indexes}
    wide = f"{100 * total_size(size) / most:.1f}%"
    bar = f'<div class="track"><div class="share" style="width:{wide}">{draw_bar(shares)}</div></div>'
    sizes = (format_size(each) for each in (size["table"], size["beside"], indexes))
    return name(size["name"]), "" if size["rows"] is None else size["rows"], *sizes, bar, format_size(total_size(size))


def _indexes(sizes: list[Size]) -> str:
    found = [(each["name"], index, size) for each in sizes for index, size in each["indexes"].items()]
    found.sort(key=lambda each: (-each[2], each[1]))
    rows = ((name(index), name(of), format_size(size)) for of, index, size in found)
    total = format_size(sum(size for _, _, size in found))
    return fold(f"{len(found):,} indexes and keys: {total}", table(("index", "of table", "#size"), rows))
