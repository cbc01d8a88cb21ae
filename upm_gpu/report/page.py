"""Small pages of the desk: one file without script, the report's style inlined and allowed by its hash, no network, ready to be printed.

Every text goes through `escape`; a page is made of the few functions below. Same arguments, same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path

from upm_gpu.errors import UsageError

PRINT = """
body.desk main { max-width: 1080px; padding-top: 28px; }
body.desk section { padding-top: 26px; break-inside: avoid-page; }
body.desk h1 { font-size: 27px; }
table.plain { border-collapse: collapse; width: 100%; font-size: 13.5px; }
table.plain th { text-align: left; color: var(--muted); font-weight: 560; border-bottom: 1px solid var(--line); padding: 5px 8px; }
table.plain td { border-bottom: 1px solid var(--soft); padding: 4px 8px; overflow-wrap: break-word; vertical-align: top; }
table.plain .n { text-align: right; white-space: nowrap; }
table.plain tr.sum td { border-top: 1px solid var(--ink); font-weight: 620; }
table.plain td.loss { color: var(--loss); } table.plain td.gain { color: var(--gain); } table.plain td.faint { color: var(--muted); }
table.heat { border-collapse: separate; border-spacing: 2px; font-size: 12px; width: 100%; table-layout: fixed; }
table.heat th { color: var(--muted); font-weight: 520; text-align: center; padding: 3px 2px; } table.heat th.side { text-align: right; white-space: nowrap; }
table.heat td { text-align: center; padding: 6px 1px; border-radius: 3px; print-color-adjust: exact; -webkit-print-color-adjust: exact; color: #16202e; white-space: nowrap; }
table.heat td.today { outline: 2px solid var(--ink); }
@media print {
  :root { --paper: #ffffff; --panel: #ffffff; --ink: #111111; --muted: #555555; --line: #bbbbbb; --soft: #dddddd; --shadow: none; color-scheme: light; }
  body.desk main { max-width: none; padding: 0; } @page { size: A4; margin: 16mm; }
}
"""
LEVELS = 12
"""shades on either side of 0"""


def escape(text: object) -> str:
    """Text for a page: markup in it is inert, control characters are visible."""
    shown = "".join(c if c.isprintable() or c in "\n\u00a0" else f"\\x{ord(c):02x}" for c in str(text))
    return html.escape(shown, quote=True)


def document(title: str, body: Sequence[str], language: str = "en") -> bytes:
    """A whole page around parts that are markup already."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8") + PRINT + _shades()
    policy = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode('ascii')}'; base-uri 'none'; form-action 'none'"
    head = (f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n')
    return (head + '<body class="desk">\n<main>\n' + "\n".join(body) + "\n</main>\n</body>\n</html>\n").encode("utf-8", errors="xmlcharrefreplace")


def heading(eyebrow: Sequence[str], title: str, lead: str = "") -> str:
    """The head of a page: small facts, the title, a sentence."""
    first, *rest = eyebrow or [""]
    facts = escape(first) + "".join(f"<span>{escape(e)}</span>" for e in rest)
    return f'<p class="eyebrow">{facts}</p>\n<h1>{escape(title)}</h1>' + (f'\n<p class="lead">{escape(lead)}</p>' if lead else "")


def section(title: str, parts: Sequence[str], note: str = "") -> str:
    """A titled part of a page in a card, with a note below its title."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + (f'<p class="note">{escape(note)}</p>\n' if note else "") + '<div class="card">\n' + "\n".join(parts) + "\n</div>\n</section>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), last_is_sum: bool = False) -> str:
    """A plain table of texts; `numbers` are the columns set to the right, of which negative figures are in the colour of losses."""
    right = set(numbers)

    def cell(n: int, text: str) -> str:
        kinds = [*(["n"] if n in right else []), *(["loss"] if n in right and text[:1] in "\u2212-" and text.strip("\u2212-") else [])]
        return f'<td class="{" ".join(kinds)}">{escape(text)}</td>' if kinds else f"<td>{escape(text)}</td>"

    lines = ["<tr>" + "".join(f'<th class="n">{escape(h)}</th>' if n in right else f"<th>{escape(h)}</th>" for n, h in enumerate(heads)) + "</tr>"]
    for i, row in enumerate(rows):
        lines.append(('<tr class="sum">' if last_is_sum and i == len(rows) - 1 else "<tr>") + "".join(cell(n, text) for n, text in enumerate(row)) + "</tr>")
    return '<table class="plain">\n' + "\n".join(lines) + "\n</table>"


def heat(columns: Sequence[str], rows: Sequence[str], values: Sequence[Sequence[float]], texts: Sequence[Sequence[str]], today: tuple[int, int] | None = None) -> str:
    """A heat map as a table: red below 0, blue above, by the largest size of any cell; `today` (row, column) is framed."""
    largest = max((abs(v) for row in values for v in row if v == v), default=0.0)
    lines = ['<tr><th class="side"></th>' + "".join(f"<th>{escape(c)}</th>" for c in columns) + "</tr>"]
    for r, (name, row, shown) in enumerate(zip(rows, values, texts, strict=True)):
        cells = []
        for c, (value, text) in enumerate(zip(row, shown, strict=True)):
            kinds = [_shade(value, largest), *(["today"] if today == (r, c) else [])]
            cells.append(f'<td class="{" ".join(kinds)}">{escape(text)}</td>')
        lines.append(f'<tr><th class="side">{escape(name)}</th>' + "".join(cells) + "</tr>")
    return '<table class="heat">\n' + "\n".join(lines) + "\n</table>"


def _shade(value: float, largest: float) -> str:
    if largest == 0.0 or value != value:
        return "z0"
    step = round(LEVELS * (abs(value) / largest) ** 0.6)  # small losses are told from none
    return "z0" if step == 0 else f"{'l' if value < 0.0 else 'g'}{step}"


def _shades() -> str:
    """Background colours of a heat map: white to a red and to a blue that all eyes tell apart."""
    lines = ["table.heat td.z0 { background: #f4f4f2; }"]
    for kind, colour in (("l", (200, 70, 50)), ("g", (60, 120, 190))):
        for n in range(1, LEVELS + 1):
            share = 0.12 + 0.73 * n / LEVELS
            lines.append(f"table.heat td.{kind}{n} {{ background: rgb({', '.join(str(round(255 + share * (c - 255))) for c in colour)}); }}")
    return "\n".join(lines) + "\n"


def refuse_existing(page: Path | None) -> None:
    """No page is written over a file. Raises UsageError."""
    if page is not None and page.exists():
        raise UsageError("UPM-CF-170", f"--page {page}: there is a file already, and no page is written over one. Give another name, or remove it.")
