"""The configuration page and the JSON Schema of migrate.toml.

Types, defaults and limits come from the pydantic models, the descriptions from the starter file that `migrate init`
writes, so each is stated once. Sections and policies that the example's mappings declare are marked.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docs.generate.markdown import NOTICE, code, sentence, table
from mappings.settings import Settings
from migrator.config.models import Config
from migrator.config.starter import compose_starter

Json = dict[str, Any]
MAPPINGS = Path(__file__).parents[2] / "mappings"

INTRODUCTION = """# Configuration

`migrate init` writes a commented `migrate.toml`. An unknown key is an error that names the nearest known key. `${VAR}`
in a string is replaced by the environment variable `VAR`; `$${` is a literal `${`. A variable `MIGRATE_SECTION__KEY`
overrides a key, for example `MIGRATE_TARGET__URL`. Relative paths are relative to the folder of the file.

Editors check the file against the [JSON Schema](migrate.schema.json) if its first line is
`#:schema ./migrate.schema.json` (Taplo, Even Better TOML).

A package of mappings can declare sections and policies of its own ([how](../how-to/own-migration.md)). Those of the
example, the migration of LibreChat, are on this page, too, and marked with *LibreChat*.
"""
EXAMPLE = "LibreChat"
_HEADING = re.compile(r"^(?:# )?\[+([a-z_.]+)\]+$")
_SETTING = re.compile(r"^(?:# )?([a-z_]+) = (.+)$")


def descriptions() -> dict[tuple[str, str], str]:
    """Returns (section, key) → description, from the comments of the starter file; key '' is the section itself."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    comment: list[str] = []
    for line in compose_starter(MAPPINGS).splitlines():
        if heading := _HEADING.match(line):
            section = heading[1]
            found[section, ""] = " ".join(comment)
            comment = []
        elif setting := _SETTING.match(line):
            key = section, setting[1]
            found[key] = f"{found[key]} {' '.join(comment)} `{setting[2]}`" if key in found else " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def schema() -> Json:
    """Returns the JSON Schema of migrate.toml, with descriptions."""
    result: Json = Settings.model_json_schema(by_alias=True)
    result |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "migrate.toml", "description": ""}
    result["description"] = "What to migrate, where to, and by which rules."
    texts = descriptions()
    for section, each in sections(result).items():
        if text := texts.get((section, "")):
            each["description"] = text
        for key, setting in each["properties"].items():
            setting.pop("title", None)
            if text := texts.get((section, key)):
                setting["description"] = text
    return result


def sections(schema: Json) -> dict[str, Json]:
    """Returns the schema of each section, by its name."""
    found = {}
    for name, each in schema["properties"].items():
        reference = re.search(r"#/\$defs/(\w+)", json.dumps(each))
        if reference is None:
            raise ValueError(f"section {name} has no model")
        found[name] = schema["$defs"][reference[1]]
    return found


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """Renders the page."""
    parts = [NOTICE, INTRODUCTION]
    whole = schema()
    for name, each in sections(whole).items():
        is_list = whole["properties"][name].get("type") == "array"
        parts.append(f"## {'[[' if is_list else '['}{name}{']]' if is_list else ']'}\n")
        if name not in Config.model_fields:
            parts.append(f"*{EXAMPLE}*\n")
        if is_list or each.get("description"):
            parts.append(sentence(each.get("description", "")) + "\n")
        required = each.get("required", [])
        engine = _engine_keys(name)
        rows = [_row(key, setting, key in required) for key, setting in each["properties"].items()]
        if engine:
            rows = [(*row[:3], row[3] if row[0] in engine else f"*{EXAMPLE}* {row[3]}") for row in rows]
        parts.append(table(("Key", "Type", "Default", "Meaning"), rows))
    return "\n".join(parts)


def _engine_keys(section: str) -> set[str]:
    """Return the names of the engine's keys in a section, as code; nothing for a section that it does not have."""
    field = Config.model_fields.get(section)
    model: Any = None if field is None else field.annotation
    return set() if model is None else {code(each.alias or name) for name, each in model.model_fields.items()}


def _row(key: str, setting: Json, required: bool) -> tuple[str, str, str, str]:
    default = setting.get("default")
    shown = "required" if required else "–" if default is None or default == "" else code(json.dumps(default))
    return code(key), _type(setting), shown, setting["description"].removesuffix(" No default.")


def _type(setting: Json) -> str:
    if "anyOf" in setting:  # the other alternative is null
        return _type(next(each for each in setting["anyOf"] if each.get("type") != "null"))
    if "enum" in setting:
        return " or ".join(code(f'"{each}"') for each in setting["enum"])
    kind = str(setting.get("type", "string"))
    kind = {"object": "table", "array": "list"}.get(kind, kind)
    low, high = setting.get("minimum"), setting.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}"
    return kind if low is None else f"{kind}, at least {low:,}"
