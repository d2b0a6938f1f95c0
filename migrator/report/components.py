"""HTML components that all pages share: style, page skeleton, escaping, tables. The content of a page is elsewhere.

A page is one self-contained file: no scripts, fonts or images from other files, and a policy that forbids them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

# Legend of the colours whose class name is not the label.
LABELS = {
    "load": "load",
    "step": "reconcile",
    "build": "schema, indexes, constraints",
    "rows": "table data",
    "toast": "TOAST",
}
MARKER = "<!-- migrate report -->"
_CODE = re.compile(r"`([^`]+)`")

# Control characters are not valid HTML. Characters that change the text direction could disguise a name.
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(9), 11, *range(12, 32), *range(127, 160)) if code != 13}
_BIDI = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPED |= {code: f"\\u{code:04x}" for code in _BIDI}

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--text:#1a2029;--soft:#5b6573;--line:#dfe3e8;--link:#1d4ed8;
--loaded:#2f6fde;--rejected:#d9480f;--archived:#8791a0;--good:#0b7a4b;--warning:#a15c00;--bad:#c01c28;--step:#7c4dbd;--build:#0c8f83}
@media (prefers-color-scheme:dark){:root{--ground:#12161c;--card:#1a2028;--text:#e4e8ee;--soft:#98a3b3;--line:#2e3641;
--link:#8db4ff;--loaded:#5b93f5;--rejected:#ff8a50;--archived:#75808f;--good:#4cc38a;--warning:#f0b040;--bad:#ff7b72;
--step:#b794f6;--build:#35b8aa}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:15px;font-weight:600;color:var(--soft);margin:0 0 12px}
h2{font-size:18px;margin:36px 0 4px}
p{margin:4px 0 12px}.soft,small{color:var(--soft)}a{color:var(--link)}
.verdict,.scroll{background:var(--card);border:1px solid var(--line);border-radius:8px}
.verdict{border-left:6px solid var(--tone);padding:14px 18px;font-size:19px;line-height:1.4;font-weight:600;margin:0}
.good,.passed{--tone:var(--good)}.warning{--tone:var(--warning)}.bad,.reject,.failed{--tone:var(--bad)}
.info{--tone:var(--soft)}.result{color:var(--tone);font-weight:600}
.examples{margin:0;padding:2px 14px 10px 34px;font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(118px,1fr));gap:8px;margin:12px 0 0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 12px}
.figures dt{color:var(--soft);font-size:13px}.figures dd{margin:0;font-size:19px;font-variant-numeric:tabular-nums}
.about{font-size:13px;color:var(--soft);margin:12px 0 0;overflow-wrap:anywhere}.about b{font-weight:600}
.blockers{margin:12px 0;padding:12px 18px 12px 34px;border:1px solid var(--bad);border-radius:8px;
background:var(--card)}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--soft);font-size:13px;border-bottom:1px solid var(--line)}
th,td{padding:5px 12px;vertical-align:top}tbody tr+tr td{border-top:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code,.ids{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
bdi,code{overflow-wrap:break-word}.ids{max-height:16em;overflow:auto;min-width:22em;overflow-wrap:anywhere}
details{background:var(--card);border:1px solid var(--line);border-radius:8px;margin:6px 0}
summary{cursor:pointer;padding:8px 14px}
summary b{display:inline-block;min-width:3.6em;text-align:right;font-variant-numeric:tabular-nums}
summary code{display:inline-block;min-width:12.5em;margin:0 8px 0 12px}
summary:hover{background:color-mix(in srgb,var(--line) 40%,transparent)}
.inner{padding:0 14px 8px}
details>.scroll{border-width:1px 0 0;border-radius:0;margin:0}details>p{padding:0 14px}
.chip{display:inline-block;min-width:5.4em;text-align:center;font-size:12px;border-radius:99px;padding:0 8px;
color:var(--tone);border:1px solid var(--tone);margin-right:6px}
.bar{display:flex;height:9px;width:100%;min-width:90px;margin-top:7px;border-radius:2px;overflow:hidden}
.track{min-width:220px}.share{min-width:3px}.share .bar{min-width:0;margin-top:6px}
.bar i,.legend i{background:var(--fill)}.bar i{min-width:2px}
.loaded{--fill:var(--loaded)}.rejected{--fill:var(--rejected)}.archived{--fill:var(--archived)}.step{--fill:var(--step)}
.source{--fill:var(--soft)}.load,.rows{--fill:var(--loaded)}.build,.indexes{--fill:var(--build)}
.toast{--fill:var(--step)}
.legend{font-size:13px;color:var(--soft);display:flex;flex-wrap:wrap;gap:2px 18px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px}
svg{display:block;width:100%;min-width:640px;height:auto;padding:12px}
svg text{fill:var(--text);font-size:13px}svg .soft{fill:var(--soft);font-size:12px}
svg rect{fill:var(--fill)}svg .flow{fill:none;stroke:var(--fill);stroke-opacity:.42}svg .flow:hover{stroke-opacity:.8}
svg .on{fill:var(--card);font-size:12px;font-weight:600}
svg .throughput{fill:var(--loaded);fill-opacity:.25;stroke:var(--loaded);stroke-width:1.2}
svg .box{fill:var(--card);stroke:var(--line);rx:5px}svg .head{font-weight:600}svg .pk,svg .row{font-size:11.5px}
svg .pk{font-weight:600}svg .optional{fill:var(--soft)}svg .type{fill:var(--soft);font-size:10.5px}
svg .link{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-opacity:.75}svg .link:hover{stroke:var(--loaded)}
svg .end{fill:var(--soft)}
svg .rule{stroke:var(--line);stroke-width:1}svg .pause{stroke:var(--warning);stroke-dasharray:3 3}
@media (max-width:600px){summary code,summary b{min-width:0}
main{padding:14px 10px 40px}.verdict{font-size:17px}th,td{padding:5px 8px}}
@media print{:root{color-scheme:light;--ground:#fff;--card:#fff;--text:#000;--soft:#444;--line:#bbb;--link:#000;
--loaded:#2f6fde;--rejected:#d9480f;--archived:#8791a0;--good:#0b7a4b;--warning:#8a4f00;--bad:#b01722;--step:#7c4dbd;--build:#0c8f83}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}body{font-size:11px}main{max-width:none;padding:0}
h2{font-size:14px;margin-top:20px}h2,.legend,section>p{break-after:avoid}.verdict,.figures dd{font-size:14px}
code,.ids{font-size:10px}.figures{grid-template-columns:repeat(7,1fr)}tr,svg,.verdict{break-inside:avoid}thead{display:table-header-group}a{text-decoration:none}
.scroll,.ids{overflow:visible;max-height:none}svg,.ids{min-width:0}table{font-size:10px}@page{margin:14mm}}
""".strip()

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def fill_skeleton(title: str, body: Iterable[str]) -> str:
    """Return the complete file. `body` is HTML."""
    head = (
        f"{MARKER}\n<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{clean(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">\n'
        f"<style>\n{STYLE}\n</style></head>\n<body><main>\n"
    )
    return head + "\n".join(body) + "\n</main></body></html>\n"


def clean(text: object) -> str:
    """Escape text for HTML; control characters become visible escapes."""
    return escape(str(text).translate(_ESCAPED))


def format_text(text: str) -> str:
    """Format a text of our own, in which `…` marks code."""
    return _CODE.sub(r"<code>\1</code>", clean(text))


def name(text: object) -> str:
    """Format a name from the data, isolated from the text direction of its surroundings."""
    return f"<bdi>{clean(text)}</bdi>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | int]], anchor: str = "") -> str:
    """Format a table. Cells are numbers or HTML. A column whose heading begins with '#' is right-aligned."""
    opening = [('<t{} class="n">' if column.startswith("#") else "<t{}>") for column in columns]
    cells = [each.format("d") for each in opening]
    heads = "".join(
        f"{each.format('h')}{column.lstrip('#')}</th>" for each, column in zip(opening, columns, strict=True)
    )
    lines = "\n".join(_row(cells, row) for row in rows)
    at = f' id="{anchor}"' if anchor else ""
    return f'<div class="scroll"{at}><table><thead><tr>{heads}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _row(openings: Sequence[str], row: Sequence[str | int]) -> str:
    cells = zip(openings, row, strict=True)
    return "<tr>" + "".join(f"{opening}{_cell(value)}</td>" for opening, value in cells) + "</tr>"


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def section(title: str, description: str, *parts: str) -> str:
    """Format a section: heading, description and content. Description and parts are HTML."""
    paragraph = f'<p class="soft">{description}</p>' if description else ""
    return "\n".join((f"<section><h2>{clean(title)}</h2>", paragraph, *parts, "</section>"))


def fold(summary: str, *parts: str, opened: bool = False) -> str:
    """Format content that opens with a click on its summary."""
    opening = "<details open>" if opened else "<details>"
    return f"{opening}<summary>{summary}</summary>" + "\n".join(parts) + "</details>"


def chip(severity: str) -> str:
    """Format a coloured label."""
    return f'<span class="chip {clean(severity)}">{clean(severity)}</span>'


def legend(*kinds: str) -> str:
    """Format the legend of some colours."""
    items = (f'<span><i class="{each}"></i>{LABELS.get(each, each)}</span>' for each in kinds)
    return f'<div class="legend">{"".join(items)}</div>'


def draw_bar(counts: Mapping[str, int]) -> str:
    """Format a bar whose parts are proportional to the counts."""
    if not any(counts.values()):
        return ""
    parts = (f'<i class="{kind}" style="flex:{count}"></i>' for kind, count in counts.items() if count)
    return f'<div class="bar">{"".join(parts)}</div>'
