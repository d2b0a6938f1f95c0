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
# Names that applications use for the same.
_SYNONYMS = (
    ("createdat", "created", "createdon", "creationdate", "datecreated", "createtime", "insertedat"),
    ("updatedat", "updated", "updatedon", "modifiedat", "modified", "lastmodified", "changedat"),
    ("email", "mail", "emailaddress"),
    ("description", "desc", "summary"),
    ("image", "picture", "photo", "imageurl", "pictureurl"),
    ("phone", "phonenumber", "telephone", "tel"),
    ("zip", "zipcode", "postcode", "postalcode"),
    ("quantity", "qty", "count", "amount"),
    ("size", "bytes", "filesize", "length"),
)
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
    return singular(squash(_ID_ENDING.sub("", field) or field))


def has_id_ending(field: str) -> bool:
    """Return whether the name of a field ends as those of IDs do."""
    return _ID_ENDING.search(field) is not None


def is_named_after(field: str, collection: str) -> bool:
    """Return whether a field is named after a collection: orderId after orders, groupId after usergroups."""
    named, of = stem(field), singular(squash(collection))
    return named == of or (len(named) > 3 and of.endswith(named)) or (len(of) > 3 and named.endswith(of))


def squash(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def score_names(path: tuple[str, ...], column: str) -> int:
    """Return how well the names of a field and a column agree: from 0, not at all, to 5, the same name."""
    whole, last, name = squash("".join(path)), squash(path[-1]), squash(column)
    if whole == name:
        return 5
    if any(whole in words and name in words for words in _SYNONYMS):
        return 4
    if len(path) == 1 and stem(path[0]) == stem(column):
        return 4 - (has_id_ending(path[0]) and not has_id_ending(column))
    if last == name or any(last in words and name in words for words in _SYNONYMS):
        return 2
    is_part = min(len(whole), len(name)) > 3 and (whole.endswith(name) or name.endswith(whole))
    return 1 if is_part or (len(name) > 3 and whole.startswith(name)) else 0
