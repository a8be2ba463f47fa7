import math

import pytest

from dlbench.report import typeset


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.81234567, "0.8123"),
        (12.0, "12"),
        (123456.0, "123\u202f456"),
        (-0.5, "−0.5"),
        (1.2e-7, "1.20×10⁻⁷"),
        (-3.21e12, "−3.21×10¹²"),
        (0, "0"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value, text):
    assert typeset.number(value) == text


def test_an_estimate_is_given_to_the_second_digit_of_its_uncertainty():
    assert typeset.estimate(0.81234, 0.79411, 0.83057) == ("0.812", "[0.794, 0.831]")
    assert typeset.estimate(1234.5, 1100.0, 1369.0) == ("1234", "[1100, 1369]")
    assert typeset.estimate(0.5, 0.5, 0.5) == ("0.5", "[0.5, 0.5]")
    assert typeset.estimate(0.5, -math.inf, math.inf) == ("0.5", "")
    assert typeset.estimate(math.nan, math.nan, math.nan) == ("–", "")


@pytest.mark.parametrize(("p", "text"), [(0.03125, "0.031"), (1e-5, "< 0.001"), (1.0, "1"), (math.nan, "–")])
def test_p_values(p, text):
    assert typeset.p_value(p) == text


def test_amounts():
    assert [typeset.seconds(s) for s in (0.26, 90, 1500, 9000)] == ["0.26 s", "90 s", "25 min", "2.5 h"]
    assert [typeset.bytes_(b) for b in (12, 300 * 2**20, 5 * 2**40)] == ["12 B", "300 MiB", "5120 GiB"]


def test_prose_links_https_and_arxiv_and_marks_code():
    html = str(
        typeset.prose("see ``x < y``, :class:`~a.B`, https://a.org/b?c=1&d. arXiv:2009.11848; javascript:alert(1)")
    )
    assert "<code>x &lt; y</code>" in html
    assert "<code>a.B</code>" in html
    assert '<a href="https://a.org/b?c=1&amp;d" rel="noopener noreferrer">' in html
    assert (
        '<a href="https://arxiv.org/abs/2009.11848" rel="noopener noreferrer">arXiv:2009.11848</a>; javascript:' in html
    )


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", 'https://x.org/"onmouseover="a', "``<b>``", "https://x/<b>"]
)
def test_prose_is_escaped(text):
    html = str(typeset.prose(text))
    for tag in ("<img", "<b>", '"onmouseover'):
        assert tag not in html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("the *found* one, *bad minimum*.", "the <em>found</em> one, <em>bad minimum</em>."),
        ("*a < b* and ``*c*``", "<em>a &lt; b</em> and <code>*c*</code>"),
        ("2 * x * y, a*b*c, **kwargs, * and *", "2 * x * y, a*b*c, **kwargs, * and *"),
    ],
)
def test_prose_marks_emphasis_but_no_products(text, html):
    assert str(typeset.prose(text)) == html


def test_prose_shows_what_would_act_unseen():
    assert str(typeset.prose("a\u202eb ``\x1b[31m``")) == "a\\u202eb <code>\\x1b[31m</code>"
    assert "\x1b" not in str(typeset.paragraphs("  \x1b[31m")[0])


def test_paragraphs_and_lists():
    blocks = typeset.paragraphs("One\nline.\n\nSecond:\n- a\n- b\n  and more\n\nLast.")
    assert [str(block) for block in blocks] == [
        "<p>One line.</p>",
        "<p>Second:</p>",
        "<ul><li>a</li><li>b and more</li></ul>",
        "<p>Last.</p>",
    ]
    assert typeset.paragraphs("") == []
    assert str(typeset.paragraphs("Run it::\n\n    dlbench")[0]) == "<p>Run it:</p>"
    assert (
        str(typeset.paragraphs("Arms:\n\n    gcn   <two>\n      layers")[1]) == "<pre>gcn   &lt;two&gt;\n  layers</pre>"
    )


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("One.\n\nTwo.\n\nThree.", 2),
        ("One.", 1),
        ("", 0),
        ("One.\n\nTwo:\n\n- a\n- b\n\nThree.", 3),
        ("One.\n\nTwo, of\n- a\n- b\n\nThree.", 3),
        ("One.\n\nTwo:\n\n    a\n    b\n\nThree.", 3),
        ("One.\n\nTwo:\n\nThree:\n\n- a\n\nFour.", 4),
        ("One.\n\nThe last says:", 2),
    ],
)
def test_the_opening_ends_with_what_its_last_paragraph_leads_to(text, opened):
    blocks = typeset.paragraphs(text)
    first, rest = typeset.opening(blocks, 2)
    assert len(first) == opened
    assert [*first, *rest] == blocks
