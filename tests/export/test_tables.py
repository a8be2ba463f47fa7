"""Tables in LaTeX and Markdown: the report's numbers, and no text that is taken for markup."""

import re

import pytest

from dlbench.errors import UsageError
from dlbench.export import export, latex, markdown, tables
from dlbench.export.tables import Table


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_claims_have_their_estimate_and_interval(gathered):
    [table] = tables.claims(gathered)
    assert table.title == "Method a is better than method b: claims"
    assert table.columns == ["claim", "verdict", "estimate", "95 % interval", "criterion", "n", "p"]
    first, *_, gate = table.rows
    row = gathered.tables.claims.iloc[0]
    assert first[0] == row.claim
    assert first[1] == "holds"
    low, high = (float(bound) for bound in first[3].strip("[]").split(", "))
    assert low == pytest.approx(row.low, abs=0.005)
    assert high == pytest.approx(row.high, abs=0.005)
    assert low < float(first[2]) < high
    assert first[4] == "> 0.1 at noise=0.0"
    assert gate[0] == "(gate) nothing is perfect"


def test_leaderboards_have_every_row_and_metric(gathered):
    [table] = tables.leaderboards(gathered)
    assert table.columns == ["rank", "subject", "noise", "accuracy ↑", "95 % interval", "n", "seconds [s] ↓"]
    assert [(row[1], row[2]) for row in table.rows] == list(
        zip(gathered.tables.leaderboard.model, ["0.0"] * 3 + ["0.5"] * 3, strict=True)
    )
    assert table.rows[0][0] == "1"
    assert {row[5] for row in table.rows} == {"6"}


def test_a_leaderboard_is_whole_where_the_page_cuts_it(workbench, monkeypatch):
    from dlbench import report

    workbench.install()
    many = [{"subject": f"m{k}", "noise": 0.0, "accuracy": k / 300, "seconds": 1.0} for k in range(250)]
    gathered = report.gather(workbench.run(rows=lambda seed: many, seeds=1))
    [table] = tables.leaderboards(gathered)
    assert len(table.rows) == 250
    assert table.title.endswith("leaderboard (noise=0.0)")
    assert r"\begin{longtable}" in latex.render(table)


def test_latex_files_are_tables_to_input(gathered, tmp_path):
    [told] = export(gathered, "latex", tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["demo-claims.tex", "demo-leaderboard.tex"]
    assert "2 tables" in told
    text = (tmp_path / "t" / "demo-claims.tex").read_text()
    lines = text.splitlines()
    assert lines[0] == r"% Method a is better than method b: claims"
    assert lines[2:4] == [r"\begin{tabular}{llrrlrr}", r"\toprule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert all(line.count(" & ") == 6 and line.endswith(r" \\") for line in lines[4:-2] if line != r"\midrule")
    assert r"\textgreater{} 0.1 at noise=0.0" in text


@pytest.mark.parametrize(
    ("plain", "printed"),
    [
        (r"a_b & 50% of $x #1 {c}", r"a\_b \& 50\% of \$x \#1 \{c\}"),
        (r"^ ~ \end", r"\textasciicircum{} \textasciitilde{} \textbackslash{}end"),
        ("p < 0.05 > |x|", r"p \textless{} 0.05 \textgreater{} \textbar{}x\textbar{}"),
        ("−1.2×10⁻⁷ ≥ ε", r"$-$1.2$\times$10\textsuperscript{$-$}\textsuperscript{7} $\geq$ $\epsilon$"),
        ("12\u202f350 “x”", r"12\,350 ``x''"),
        ("Λ λ Α", r"$\Lambda$ $\lambda$ A"),
        ("a--b", "a-{}-b"),
        ("naïve", "naïve"),
    ],
)  # fmt: skip
def test_text_in_latex(plain, printed):
    assert latex.text(plain) == printed


def test_latex_takes_no_text_for_an_option_of_a_line_s_end():
    made = latex.render(Table("x", "t", ["[head]", "b"], [False, False], [["* a", "1"], ["[2pt]", "2"], ["c", "3"]]))
    assert "{}[head] & b" in made
    assert "{}* a & 1" in made
    assert "{}[2pt] & 2" in made
    assert "\nc & 3" in made


def test_letters_that_pdflatex_lacks_are_told(odd):
    [table] = tables.leaderboards(odd.gathered)
    assert "% needs LuaLaTeX or XeLaTeX, with a font that has 字\n" in latex.render(table)


def test_odd_names_are_printed_as_they_are(odd, tmp_path):
    export(odd.gathered, "markdown", tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    head, rule, *rows = text.split("\n\n")[1].splitlines()
    width = len(cells(head))
    assert {len(cells(row)) for row in (rule, *rows)} == {width}
    shown = {re.sub(r"\\(.)", r"\1", cells(row)[1]) for row in rows}
    assert shown == {name.replace("\x1b", r"\x1b") for name in odd.names}
    assert "<b>" not in text.replace(r"\<", "")
    assert "∞" in text
    assert "–" in text
    assert (tmp_path / "claims.md").read_text().startswith("## Method a is better than method b: claims\n")


def test_markdown_is_aligned_and_reads():
    made = markdown.render(Table("x", "t", ["name", "n"], [False, True], [["a|b", "1"], ["c", "1000"]]))
    assert made.splitlines() == ["| name |    n |", "| ---- | ---: |", r"| a\|b |    1 |", "| c    | 1000 |"]


def test_what_cannot_be_written_is_one_line(gathered, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        export(gathered, "latex", tmp_path / "file")
    with pytest.raises(UsageError, match="there is no export 'excel'; expected one of latex"):
        export(gathered, "excel", tmp_path)


def test_the_command(workbench, monkeypatch, tmp_path):
    from click.testing import CliRunner

    from dlbench.cli import group

    workbench.install()
    monkeypatch.setenv("PYTHONPATH", str(workbench.folder), prepend=":")
    run, out = str(workbench.run().path), tmp_path / "tables"
    done = CliRunner().invoke(group, ["export", run, "--to", "markdown", "--out", str(out)], catch_exceptions=False)
    assert done.output == f"claims.md and leaderboard.md in {out}, 2 tables\n"
    assert "| a is better than b by 10 points, at every noise | holds " in (out / "claims.md").read_text()
    assert CliRunner().invoke(group, ["export", run, "--to", "excel", "--out", str(out)]).exit_code == 2
