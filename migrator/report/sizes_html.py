"""The section on disk usage: tables by size, records of migrate separately, indexes on demand."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.formatting import format_count, format_size
from migrator.report.components import draw_bar, fold, legend, name, section, table
from migrator.report.content import TableSize, total_size

COLUMNS = ("table", "#rows (estimate)", "#table data", "#TOAST", "#indexes", "", "#total")


def render_sizes(sizes: list[TableSize]) -> Iterator[str]:
    """Yield the section; nothing if no size is known."""
    target, records = ([each for each in sizes if each["of_tool"] is wanted] for wanted in (False, True))
    if not target:
        return
    largest = max(map(total_size, sizes)) or 1
    description = "Sizes from PostgreSQL's catalog. TOAST includes the free-space and visibility maps."
    parts = [legend("rows", "toast", "indexes"), table(COLUMNS, (_row(each, largest) for each in target))]
    if records:
        size, tables = format_size(sum(map(total_size, records))), format_count(len(records), "tables")
        summary = f"Records of migrate: {size} in {tables}"
        parts.append(fold(summary, table(COLUMNS, (_row(each, largest) for each in records))))
    parts.append(_indexes(target))
    yield section("Disk usage", description, *parts)


def _row(size: TableSize, largest: int) -> tuple[str | int, ...]:
    indexes = sum(size["indexes"].values())
    shares = {"rows": size["table"], "toast": size["toast"], "indexes": indexes}
    width = f"{100 * total_size(size) / largest:.1f}%"
    bar = f'<div class="track"><div class="share" style="width:{width}">{draw_bar(shares)}</div></div>'
    sizes = (format_size(each) for each in (size["table"], size["toast"], indexes))
    return name(size["name"]), "" if size["rows"] is None else size["rows"], *sizes, bar, format_size(total_size(size))


def _indexes(sizes: list[TableSize]) -> str:
    found = [(each["name"], index, size) for each in sizes for index, size in each["indexes"].items()]
    found.sort(key=lambda each: (-each[2], each[1]))
    rows = ((name(index), name(owner), format_size(size)) for owner, index, size in found)
    total = format_size(sum(size for _, _, size in found))
    return fold(f"{format_count(len(found), 'indexes')}: {total}", table(("index", "table", "#size"), rows))
