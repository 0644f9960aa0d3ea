"""The pages under docs/: their examples run, their pictures, links and numbers are those of the code."""

import contextlib
import functools
import importlib
import inspect
import io
import json
import re
import runpy
import shlex
import types
from pathlib import Path

import pytest

from benchmarks.concepts import page
from keras_seq import layers, plots

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
LAYERS, CONCEPTS = PAGES["layers.md"], PAGES["concepts.md"]
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", LAYERS, re.MULTILINE | re.DOTALL))
PUBLIC = [name for name in layers.__all__ if not isinstance(getattr(layers, name), types.ModuleType)]
LARGEST = 60_000  # bytes of a picture


def example(section):
    return re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_runs_and_prints_what_it_says(name):
    code, printed = example(SECTIONS[name]), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), {"__name__": name})
    lines, promised = printed.getvalue().splitlines(), re.findall(r"print\(.*\)  # (.*)", code)
    assert len(lines) >= len(promised) > 0 or name == "mask_report"
    missing = [line for line in promised if line not in lines]
    assert not missing, f"it printed {lines}"


def test_the_mask_report_prints_what_the_text_says():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example(SECTIONS["mask_report"]), {"__name__": "mask_report"})
    assert printed.getvalue().splitlines() == re.findall(r"`(\w+ - [\w ]+)`", SECTIONS["mask_report"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_layer_has_a_section_that_says_where_it_is(name):
    section, each = SECTIONS[name], getattr(layers, name)
    file = Path(inspect.getfile(each)).relative_to(ROOT)
    assert f"(../{file.as_posix()})" in section, file
    if name != "mask_report":
        assert "```math" in section
    if "Reference:" in (each.__doc__ or ""):
        assert "Paper:" in section


def test_every_section_is_of_something_public():
    assert set(SECTIONS) <= set(PUBLIC)


def test_every_section_is_found_from_the_table_at_the_top():
    top = LAYERS.partition("\n## ")[0]
    assert not [name for name in SECTIONS if f"(#{name.lower()})" not in top]


def test_the_list_of_public_names_is_that_of_the_package():
    page = runpy.run_path(str(DOCS / "api.py"))["page"]()
    assert PAGES["api.md"] == page, "run `python docs/api.py`"
    assert "|  |" not in page  # each has a docstring


MARKDOWN = sorted(path for place in ("*.md", "docs/*.md", "apps/data/*/*.md") for path in ROOT.glob(place))


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    text = re.sub(r"`[^`\n]*`", "", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


# ---------- commands ----------

RECIPES = {path.stem: path for path in sorted((ROOT / "apps").glob("*.py")) if not path.stem.startswith("_")}
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = {**PAGES, "README.md": README, **{path.name: path.read_text(encoding="utf-8") for path in RECIPES.values()}}


def recipe(name):
    return importlib.import_module(f"apps.{name}").APP


def commands(text):
    """[(app, arguments)] of the command lines in a text; a backslash goes on with a line, a comment ends it."""
    line = r"python -m apps\.(\w+) ((?:train|predict|evaluate|export|demo)\b[^`\n]*)"
    return [(app, shlex.split(rest, comments=True)) for app, rest in re.findall(line, text.replace("\\\n", " "))]


@pytest.mark.parametrize("name", [name for name in TEXTS if commands(TEXTS[name])])
def test_every_command_line_is_one_that_the_app_knows(name):
    from keras_seq.app.commands import parser

    for app, arguments in commands(TEXTS[name]):
        parser(recipe(app)).parse(arguments)  # exits for a flag or a value that there is not


def flags(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


@functools.cache
def known_flags(app):
    """The flags of all commands of an app."""
    from keras_seq.app.commands import COMMANDS, parser

    out = io.StringIO()
    for name in COMMANDS:
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            parser(recipe(app)).parse([name, "--help"])
    return flags(out.getvalue())


def test_every_flag_that_a_page_or_an_app_names_exists():
    known = {app: known_flags(app) for app in RECIPES}
    others = {"--help", "--check", "--signature", "--backend", "--logdir"}  # of the hosts, pytest and TensorBoard
    every = set().union(*known.values(), others)
    pages = {name: flags(TEXTS[name]) - every for name in ("README.md", "apps.md", "mobile.md", "series.md")}
    assert not any(pages.values()), pages
    for app in RECIPES:  # an app's file tells of its own and, as examples, of those that go on from it
        assert not flags(recipe(app).doc) - known[app] - known["tagging"], app


def test_the_rows_of_the_tables_name_flags_of_their_app():
    """A row belongs to the app in its first or second cell, or to that of the row above."""
    app = None
    for row in re.findall(r"^\| .*$", README.partition("## All apps")[2], re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        app = next((cell for cell in cells[:2] if cell in RECIPES), app)
        assert app is None or not flags(row) - known_flags(app) or "benchmarks" in row, row


def test_the_flags_beside_pretrained_are_the_sizes_of_masked_lm():
    from keras_seq.app.cli import given
    from keras_seq.app.commands import parser
    from keras_seq.app.pretrained import SIZES

    theirs, count = recipe("masked_lm").Config(), 0
    for text in TEXTS.values():
        for app, arguments in commands(text):
            if "--pretrained" in arguments:
                chosen = recipe(app).Config(**given(parser(recipe(app)).parse(arguments), recipe(app).Config))
                assert {name: getattr(chosen, name) for name in SIZES[theirs.model]} == {
                    name: getattr(theirs, name) for name in SIZES[theirs.model]
                }
                count += 1
    assert count >= 3


@pytest.mark.parametrize("title", ["what it takes", "held out"])
def test_the_tables_of_the_apps_have_all_of_them(title):
    (head,) = [line for line in PAGES["apps.md"].splitlines() if line.startswith("| app |") and title in line]
    rows = PAGES["apps.md"].partition(head)[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| (\w+) \|", rows, re.MULTILINE)) == sorted(RECIPES)


def test_the_code_that_a_section_names_is_in_the_file_it_names():
    found = re.findall(r"\(\.\./(keras_seq/\S+\.py)\), ((?:[a-z ]*`\w+`[, and]*)+)", LAYERS)
    assert found
    for path, names in found:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        for name in re.findall(r"`(\w+)`", names):
            source = inspect.getsource(module)
            assert re.search(rf"^\s*(class|def) {name}\b", source, re.MULTILINE), f"{path} has no {name}"


def test_pictures_are_small_and_each_is_shown():
    files = {path.name for path in (DOCS / "images").glob("*.png")}
    pages = [*PAGES.values(), (DOCS.parent / "README.md").read_text(encoding="utf-8")]
    shown = {name for text in pages for name in re.findall(r"!\[[^\]]+\]\((?:docs/)?images/([\w.]+)\)", text)}
    assert files == shown
    large = [path.name for path in (DOCS / "images").glob("*.png") if path.stat().st_size > LARGEST]
    assert not large


def test_the_pictures_of_layers_are_those_that_the_command_draws(tmp_path, capsys):
    from keras_seq.plots.__main__ import main

    shown = set(re.findall(r"\(images/(\w+)\.png\)", LAYERS))
    assert set(plots.layers.PICTURES) == shown
    main(["schedules", "--output", str(tmp_path)])
    assert (tmp_path / "schedules.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit):
        main(["nothing", "--output", str(tmp_path)])
    assert "masks" in capsys.readouterr().err


def test_the_masks_drawn_are_those_of_the_layers():
    (causal, *_) = plots.layers.masks().axes
    drawn = causal.images[0].get_array() > 0
    assert drawn.sum() == 12 * 13 / 2
    assert not drawn[0, 1]
    assert drawn[1, 0]


def test_the_numbers_of_the_concepts_are_those_of_the_last_run():
    results = json.loads((DOCS / "concepts.json").read_text(encoding="utf-8"))
    assert page.fill(CONCEPTS, results) == CONCEPTS


def test_no_number_begins_a_line():
    """Markdown takes a line that begins with a comment for HTML, and cuts the paragraph there."""
    assert not re.findall(r"^\s*<!-- [\w.+-]+(?: \S+)? -->\S.*$", CONCEPTS, re.MULTILINE)


def test_a_page_is_filled_between_its_markers():
    text = "a <!-- x.y .1f -->old<!-- / --> b <!-- x.t -->\n<!-- / --> c <!-- z.q -->later<!-- / -->"
    filled = page.fill(text, {"x": {"y": 2.25, "t": [["n", "m"], [1, 2]]}})
    assert filled.startswith("a <!-- x.y .1f -->2.2<!-- / --> b ")
    assert "\n\n| n | m |\n| --- | ---: |\n| 1 | 2 |\n\n<!-- / --> c <!-- z.q -->later<!-- / -->" in filled
    assert page.fill(filled, {"x": {"y": 2.25, "t": [["n", "m"], [1, 2]]}}) == filled
    assert page.shown(3.21e-21, ".0e") == "3 · 10⁻²¹"
    with pytest.raises(KeyError):
        page.fill(text, {"x": {"t": []}})


def test_the_sample_tables_are_read_as_the_page_says(tmp_path):
    from keras_seq import data

    (block,) = re.findall(r"^```\n(# .*?)^```", PAGES["apps.md"], re.MULTILINE | re.DOTALL)
    for part in block.split("\n\n"):
        head, _, text = part.partition("\n")
        path = tmp_path / re.match(r"# ([\w./]+\w)", head)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.strip() + "\n", encoding="utf-8")
    assert data.read_rows(tmp_path / "reviews.csv", ["text", "stars"]) == [("A charming film, if a bit long.", "4")]
    assert data.read_tagged(tmp_path / "names.bio")[0].tags == ["B-person", "I-person", "O"]
    assert data.read_spoken(tmp_path / "recordings")[0].text == "the conference is now muted"
    assert data.read_clips(tmp_path / "clips")[0].spans == [(0.4, 1.2, "opens")]
    assert data.read_series(tmp_path / "load.csv").values.tolist() == [[101.3, 4.0]]
