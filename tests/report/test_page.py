"""The page in a real browser: it renders, sorts, stays inside the window, and neither runs nor fetches anything."""

import pytest

from dlbench import report

from ..browser import browser, missing

# ------------------------------------------------------------------------------------------ tests

SCRIPT = "<script>alert(1)</script>"

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")


@pytest.fixture(scope="module")
def window():
    with browser() as window:
        yield window


@pytest.fixture
def site(workbench, tmp_path):
    """The page of a report whose subjects are hostile, long and many."""
    workbench.install()
    subjects = [SCRIPT, "a", "b", "\x1b[31mred", "x" * 300, "m10", "m9", '"><img src=x onerror=alert(1)>']

    def rows(seed):
        return [
            {
                "subject": s,
                "noise": n,
                "accuracy": 0.9 - 0.1 * i - n / 5 + seed / 100 + (i * seed) % 3 / 300,
                "seconds": 10.0 * i,
            }
            for n in (0.0, 0.5)
            for i, s in enumerate(subjects)
        ] + [{"subject": "unscored", "noise": 0.0, "accuracy": float("nan"), "seconds": 1.0}]

    return report.write(
        workbench.run(rows=rows, seeds=8, status=lambda s: "error" if s == 7 else "ok"), tmp_path / "r"
    ).page


COLUMN = "return Array.from(document.querySelectorAll('.sortable tbody tr'), r => r.cells[arguments[0]].textContent)"
SORTED = "return Array.from(document.querySelectorAll('.sortable thead th'), th => th.getAttribute('aria-sort'))"


def test_it_renders_without_a_word_from_the_console_and_fetches_nothing(window, site):
    window.log("performance")
    window.open(site)
    assert window.run("return document.querySelector('h1').textContent").endswith("claims hold")
    picture = "const img = document.querySelector('figure img'); return [img.complete, img.naturalWidth > 300]"
    assert window.run(picture) == [True, True]
    assert window.log("browser") == []
    requests = [
        m["params"]["request"]["url"] for m in window.log("performance") if m["method"] == "Network.requestWillBeSent"
    ]
    assert requests
    assert {url.partition(":")[0] for url in requests} == {"file", "data"}
    assert [url for url in requests if url.startswith("file:")] == [site.resolve().as_uri()]


def test_a_hostile_subject_stays_text(window, site):
    window.open(site)
    assert SCRIPT in window.run("return document.querySelector('.sortable').textContent")
    assert window.run("return document.scripts.length") == 1
    assert window.run("return document.querySelectorAll('img').length") == 1


def test_the_policy_holds_even_if_markup_got_in(window, site, tmp_path):
    """The second line of defence: with escaping broken, an injected script, handler or image does nothing."""
    evil = "<script>window.hit = 1</script><b style='color:red'>b</b>"
    evil += "<img src='https://127.0.0.1:9/x.png' onerror='window.hit = 2'>"
    text = site.read_text(encoding="utf-8").replace("<main>", f"<main>{evil}", 1)
    page = tmp_path / "injected.html"
    page.write_text(text, encoding="utf-8")
    window.open(page)
    assert window.run("return window.hit ?? null") is None
    assert len(window.log("browser")) >= 3  # refused: script, image or handler, style


def test_a_click_on_a_header_sorts(window, site):
    window.open(site)
    heads = window.run(
        "return Array.from(document.querySelectorAll('.sortable thead th'), th => th.textContent.trim())"
    )
    seconds = next(i for i, head in enumerate(heads) if head.startswith("seconds"))
    button = f".sortable thead th:nth-child({seconds + 1}) button"
    window.click(button)
    values = [float(text) for text in window.run(COLUMN, seconds)]
    assert values == sorted(values)
    assert len(set(values)) > 3
    assert window.run(SORTED)[seconds] == "ascending"
    window.click(button)
    assert [float(text) for text in window.run(COLUMN, seconds)] == sorted(values, reverse=True)
    assert window.run(SORTED) == [None] * seconds + ["descending"] + [None] * (len(heads) - seconds - 1)


def test_what_is_missing_sorts_last_either_way(window, site):
    window.open(site)
    for _ in range(2):
        window.click(".sortable thead th:nth-child(4) button")  # rank, subject, noise, accuracy
        assert window.run(COLUMN, 3)[-1] == "–"
    assert window.run(COLUMN, 1)[-1] == "unscored"


def test_text_sorts_by_the_numbers_in_it_and_by_keyboard(window, site):
    window.open(site)
    window.run("document.querySelector('.sortable thead th:nth-child(2) button').focus()")
    window.press("\ue007")
    subjects = window.run(COLUMN, 1)
    assert subjects.index("m9") < subjects.index("m10")
    assert window.run(SORTED)[1] == "ascending"


@pytest.mark.parametrize("width", [320, 360, 768, 1600])
def test_nothing_sticks_out_of_the_window(window, site, width):
    window.open(site, width=width)
    window.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert window.run("return [document.documentElement.scrollWidth, window.innerWidth]") == [width, width]


CONTRAST = """
const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgb(colors) {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
  return canvas.getImageData(0, 0, 1, 1).data;
}
const light = p => 0.2126 * channel(p[0]) + 0.7152 * channel(p[1]) + 0.0722 * channel(p[2]);
const weak = [];
for (const element of document.querySelectorAll('body *')) {
  if (!Array.from(element.childNodes).some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  if (!element.checkVisibility() || element.closest('.none, script, svg')) continue;
  const behind = [];
  for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
  const [a, b] = [light(rgb(behind)), light(rgb([...behind, getComputedStyle(element).color]))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) weak.push([element.className || element.tagName, element.textContent.slice(0, 40), ratio]);
}
return weak;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_background(window, site, dark):
    """WCAG 2.2 AA: a contrast of at least 4.5, in the light and in the dark."""
    window.open(site, dark=dark)
    background = window.run("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 23, 26)" if dark else "rgb(253, 252, 249)")
    assert window.run(CONTRAST) == []


def test_links_within_the_page_lead_somewhere(window, site):
    window.open(site)
    dead = """
        const targets = Array.from(document.querySelectorAll('a[href^="#"]'), a => a.hash.slice(1));
        return targets.filter(id => !document.getElementById(id));
    """
    assert window.run(dead) == []
    assert window.run("return new Set(Array.from(document.querySelectorAll('[id]'), e => e.id)).size") == 1


def test_without_scripts_it_reads_the_same(window, site):
    window.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.open(site)
        assert window.run("return document.querySelectorAll('.sortable button').length") == 0
        assert window.run("return document.querySelectorAll('.sortable tbody tr').length") == 17
    finally:
        window.devtools("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_all_is_unfolded(window, site):
    window.open(site, media="print", width=800)
    shown = (
        "return Array.from(document.querySelectorAll('details pre.command'), e => e.getBoundingClientRect().height > 5)"
    )
    assert all(window.run(shown))
