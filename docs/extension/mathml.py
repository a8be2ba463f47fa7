"""Formulas as MathML, which browsers draw themselves: Sphinx would fetch MathJax from a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Sphinx calls this; ``html_math_renderer = "mathml"`` chooses it."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(tex: str, *, as_block: bool = False) -> str:
    """Without what sets sizes, which docutils does not know; browsers choose them well."""
    tex = re.sub(r"\\(?:big|Big|bigg|Bigg|textstyle)[lr]?(?![A-Za-z])", "", tex)
    tex = re.sub(r"(\\(?:hat|tilde|bar)\{[^}]*\})(?=[_^])", r"\1{}", tex)  # or the index lands below the accent
    return str(tex2mathml(tex, as_block=as_block))
