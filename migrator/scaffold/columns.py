"""Decides which columns the fields of a collection fill. What gets no column is kept in the residue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from migrator.scaffold.draft import KEY_COLUMN, ChildDraft, ColumnDraft, ImpliedDraft, Kind, RowsDraft, TableDraft
from migrator.scaffold.ids import Target, draft_id, draft_junction
from migrator.scaffold.kinds import decide_kind, is_indexable
from migrator.scaffold.names import singular, snake_case, unique_name
from migrator.scaffold.scope import Scope, elements_of, has_row_elements
from migrator.scaffold.shapes import describe_shape, is_flat
from migrator.scaffold.statistics import ARRAY, INT32, OBJECT, FieldStatistics, Path, dotted

VERSION = "__v"  # Mongoose's counter of changes to arrays
MOST_COLUMNS = 200  # of one table; rarer fields stay in the residue


class Filler:
    """Fills the tables of one collection. `targets`: the tables to which paths refer; `names`: of all tables."""

    def __init__(self, table: TableDraft, targets: Mapping[Path, Target], names: set[str]) -> None:
        self._table, self._targets, self._names = table, targets, names

    def fill(self, rows: RowsDraft, fields: Sequence[FieldStatistics], scope: Scope, taken: set[str]) -> None:
        """Add columns, implied fields and tables of elements. `taken`: names of columns that the table has already."""
        for field in self._ordered(fields, scope):
            if (child := self._draft_child(rows, field, scope)) is not None:
                rows.children.append(child)
                continue
            for each in self._draft_field(field, scope):
                if isinstance(each, ImpliedDraft):
                    rows.implied.append(each)
                else:
                    rows.columns.append(self._rename(each, field, rows, taken))

    def _ordered(self, fields: Sequence[FieldStatistics], scope: Scope) -> Iterator[FieldStatistics]:
        """Yield the fields that can have a column, in the order of the documents."""
        usable = [field for field in fields if field.path not in (("_id",), (self._table.key.path,))]
        frequent = set(sorted((-field.documents, number) for number, field in enumerate(usable))[:MOST_COLUMNS])
        for number, field in enumerate(usable):
            if not field.name or "." in field.name or field.name == "*":
                self._ask(field, "cannot be a path of a rule: it stays in the residue.")
            elif (-field.documents, number) in frequent:
                yield field
            else:
                self._ask(field, f"is in {field.documents:,} documents only: it stays in the residue.")

    def _draft_field(self, field: FieldStatistics, scope: Scope) -> Iterator[ColumnDraft | ImpliedDraft]:
        target = self._targets.get(field.path) or self._targets.get((*field.path, "[]"))
        if target is not None and (column := draft_id(field, scope, target)) is not None:
            yield column
        elif (implied := _find_implied(field, scope)) is not None:
            yield implied
        elif field.filled == 0:
            self._ask(field, "is always null or undefined: it has no column.")
        elif is_flat(field) and not scope.prefix:
            self._ask(field, f"is {describe_shape(field)}: its fields became columns.")
            yield from (_draft_column(child, scope) for child in field.fields)
        else:
            yield (column := _draft_column(field, scope))
            if column.kind.is_json and field.count(OBJECT, ARRAY):
                self._ask(field, f"is {describe_shape(field)}: it became one jsonb column.")

    def _draft_child(self, rows: RowsDraft, field: FieldStatistics, scope: Scope) -> ChildDraft | None:
        """Return the table of the elements of an array; None if they stay in one column."""
        target = self._targets.get((*field.path, "[]"))
        junction = None if target is None else draft_junction(field, scope, target)
        if field.elements is None or (junction is None and not has_row_elements(field, scope)):
            return None
        name = unique_name(f"{singular(rows.table)}_{snake_case(field.name)}", self._names)
        self._names.add(name)
        taken = {KEY_COLUMN, parent := f"{singular(rows.table)}_id"}
        taken.add(position := unique_name("position", taken))
        child = ChildDraft(
            table=name,
            path=dotted(scope.relative(field)),
            parent=parent,
            position=position,
            is_junction=junction is not None,
            elements=field.elements.occurrences,
        )
        if junction is not None:
            child.columns.append(replace(junction, name=unique_name(junction.name, taken)))
            self._ask(field, f"is {describe_shape(field)}: each became a row of `{name}`.")
        else:
            self.fill(child, field.elements.fields, elements_of(field, scope), taken)
            self._ask(field, f"is {describe_shape(field)}: they became rows of `{name}`.")
        return child

    def _rename(self, column: ColumnDraft, field: FieldStatistics, rows: RowsDraft, taken: set[str]) -> ColumnDraft:
        """Return a column with a name that the table does not have."""
        is_key = column.name == KEY_COLUMN
        name = unique_name(f"{singular(rows.table)}_{column.name}" if is_key else column.name, taken)
        if column.name in taken and not is_key:
            self._ask(field, "would have the name of another column: is it the same field?")
        taken.add(name)
        return replace(column, name=name)

    def _ask(self, field: FieldStatistics, text: str) -> None:
        self._table.questions.append(f"`{dotted(field.path)}` {text}")


def _find_implied(field: FieldStatistics, scope: Scope) -> ImpliedDraft | None:
    """Return the rule of a field that always has the same value and tells nothing."""
    if scope.present(field) * 2 <= scope.objects:
        return None
    if field.name == VERSION and field.sample_type == INT32 and field.sample is not None:
        value, share = int.from_bytes(field.sample, "little", signed=True), field.same / field.occurrences
        return ImpliedDraft(path=field.name, value=str(value), evidence=f"{value} in {share:.1%} of its documents")
    if field.filled == 0 and field.types.keys() == {0x0A}:
        return ImpliedDraft(path=field.name, value="None", evidence="always null")
    if field.count(ARRAY) == field.occurrences == field.empty:
        return ImpliedDraft(path=field.name, value="[]", evidence="always an empty array")
    return None


def _draft_column(field: FieldStatistics, scope: Scope) -> ColumnDraft:
    decided = decide_kind(field)
    absent = scope.objects - scope.present(field)
    nulls = field.occurrences - field.filled
    objects = "elements" if scope.prefix else "documents"
    evidence = f"{field.describe_types()} in {scope.present(field):,} of {scope.objects:,} {objects}"
    path = scope.relative(field)
    return ColumnDraft(
        name=snake_case("_".join(path)),
        path=dotted(path),
        kind=decided.kind,
        required=decided.is_uniform and not absent and not nulls and scope.can_require(field),
        evidence=evidence + _describe_values(field, decided.kind),
        note=decided.note,
        item=decided.item,
        indexable=is_indexable(decided.kind, field),
        longest=field.longest,
        restores_null=nulls > absent,
    )


def _describe_values(field: FieldStatistics, kind: Kind) -> str:
    if not field.values.kept or kind.is_json:
        return ""
    about = "about " if field.values.level else ""
    return f"; {about}{field.values.distinct:,} distinct values"
