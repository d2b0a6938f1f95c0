"""Names: singular and plural of English words, snake_case, and whether a field is named after a collection."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection

# How the names of fields end that identify something: userId, user_ids, orderNumber, country_code.
_ID_ENDING = re.compile(
    r"(?:_?ids?|Ids?|IDs?|(?<=[a-z])(?:Number|No|Code|Key|Slug|Ref)|_(?:number|no|code|key|slug|ref))$"
)
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST = 63  # bytes of a name in PostgreSQL


def snake_case(name: str) -> str:
    """Return a name as a PostgreSQL column and a Python name: createdAt → created_at."""
    words = _WORDS.findall(name)
    joined = "_".join(words).lower() or "field"
    return f"_{joined}" if joined[0].isdigit() else joined[:_LONGEST]


def unique_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number if it is taken."""
    found, number = name, 2
    while found in taken:
        found = f"{name[: _LONGEST - 4]}_{number}"
        number += 1
    return found


def python_name(name: str) -> str:
    """Return a name that can be a Python variable or module."""
    found = snake_case(name)
    return f"{found}_" if keyword.iskeyword(found) or keyword.issoftkeyword(found) else found


def singular(word: str) -> str:
    """Return the singular of an English plural: categories → category."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if re.search(r"(?:ss|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def stem(field: str) -> str:
    """Return what an ID field names: userId and user_ids → user."""
    return singular(_squash(_ID_ENDING.sub("", field) or field))


def has_id_ending(field: str) -> bool:
    """Return whether the name of a field ends as those of IDs do."""
    return _ID_ENDING.search(field) is not None


def is_named_after(field: str, collection: str) -> bool:
    """Return whether a field is named after a collection: courseId after courses, groupId after promptgroups."""
    named, of = stem(field), singular(_squash(collection))
    return named == of or (len(named) > 3 and of.endswith(named)) or (len(of) > 3 and named.endswith(of))


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
