r"""Tables in LaTeX, a file each: a ``tabular`` of booktabs' to ``\input`` into one's own float, or a ``longtable``."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench.export import tables
from dlbench.export.tables import Table
from dlbench.report import files

if TYPE_CHECKING:
    from dlbench.report import Gathered

LONGEST = 40
"""Rows beyond which a table runs over pages."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}

_SIGNS = {
    "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "≠": r"$\neq$",
    "≈": r"$\approx$", "∞": r"$\infty$", "∈": r"$\in$", "√": r"$\surd$", "‖": r"$\|$", "→": r"$\rightarrow$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "ℓ": r"$\ell$", "°": r"$^\circ$", "–": "--", "—": "---",
    "…": r"\ldots{}", "“": "``", "”": "''", "‘": "`", "’": "'", "\u202f": r"\,", "\u00a0": "~",
}  # fmt: skip
_ALIKE = {"OMICRON": "o", "FINAL SIGMA": r"$\varsigma$"}
_UPRIGHT = {
    "ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I", "KAPPA": "K", "MU": "M",
    "NU": "N", "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X",
}  # fmt: skip


def write(gathered: Gathered, out: Path) -> list[str]:
    """Write NAME-claims.tex and NAME-leaderboard.tex for each experiment."""
    made = {f"{files.safe_name(table.of)}-claims.tex": table for table in tables.claims(gathered)}
    made |= {f"{files.safe_name(table.of)}-leaderboard.tex": table for table in tables.leaderboards(gathered)}
    for name, table in made.items():
        files.write(out / name, render(table))
    return [rf"{len(made)} tables in {out}; in the preamble: \usepackage{{booktabs,longtable}}"]


def render(table: Table) -> str:
    """A table, below a comment that tells what it is and needs."""
    kind = "longtable" if len(table.rows) > LONGEST else "tabular"
    repeated = "\n\\endhead" if kind == "longtable" else ""
    columns = "".join("r" if right else "l" for right in table.numeric)
    head, *rows = [" & ".join(map(text, line)) + r" \\" for line in (table.columns, *table.rows)]
    # LaTeX would take a bracket or an asterisk after a line's end for an option of that
    head, *rows = [f"{{}}{line}" if line[:1] in ("[", "*") else line for line in (head, *rows)]
    body = "\n".join((rf"\begin{{{kind}}}{{{columns}}}", r"\toprule", head, rf"\midrule{repeated}", *rows))
    return f"% {text(table.title)}\n{_needs(body, kind)}{body}\n\\bottomrule\n\\end{{{kind}}}\n"


def _needs(body: str, kind: str) -> str:
    """Comments: the packages, and the letters that only engines with fonts of all scripts have."""
    packages = ", ".join(["booktabs", *(["longtable"] if kind == "longtable" else [])])
    foreign = sorted({sign for sign in body if not sign.isascii() and not _is_latin(sign)})
    fonts = f"% needs LuaLaTeX or XeLaTeX, with a font that has {''.join(foreign)}\n" if foreign else ""
    return f"% needs the packages {packages}\n{fonts}"


def text(plain: str) -> str:
    """A text that LaTeX prints as it is."""
    return re.sub("--", "-{}-", "".join(map(_sign, plain))) if "--" in plain else "".join(map(_sign, plain))


def _sign(sign: str) -> str:
    if sign.isascii():
        return _SPECIAL.get(sign, sign)
    return _SIGNS.get(sign) or _raised(sign) or _greek(sign) or sign


def _raised(sign: str) -> str:
    """``¹⁰``, ``₀``: what Unicode has as small letters above and below."""
    how, _, plain = unicodedata.decomposition(sign).partition(" ")
    command = {"<super>": "textsuperscript", "<sub>": "textsubscript"}.get(how)
    if command is None:
        return ""
    return f"\\{command}{{{''.join(_sign(chr(int(code, 16))) for code in plain.split())}}}"


def _greek(sign: str) -> str:
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z ]+)", unicodedata.name(sign, ""))
    if match is None or " WITH " in match[2]:
        return ""
    name = match[2].replace("LAMDA", "LAMBDA")
    if match[1] == "CAPITAL":
        return _UPRIGHT.get(name) or f"$\\{name.capitalize()}$"
    return _ALIKE.get(name) or f"$\\{name.lower()}$"


def _is_latin(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith("LATIN ") and ord(sign) < 0x180
