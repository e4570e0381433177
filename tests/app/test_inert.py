"""Whatever a stranger types, names or brings stays text: one nasty string through every field and every renderer."""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import RESULT
from pandas import read_csv

from vjepa_demo import tasks, wording
from vjepa_demo.app import batch_html, charts, compare_html, finetune_html, html, rate_html
from vjepa_demo.app.api_answers import row_json
from vjepa_demo.app.compare_board import Board, Clip
from vjepa_demo.app.history import panel, scored_clip
from vjepa_demo.app.session import ScoreHistory
from vjepa_demo.config import DIMENSIONS, ModelConfig
from vjepa_demo.data.cells import FORMULA, NUMBER
from vjepa_demo.data.records import write_labels
from vjepa_demo.model.card import model_card
from vjepa_demo.schema import (
    BatchReport,
    BatchRow,
    BatchTable,
    Comparison,
    PredictedClip,
    RecordProblem,
    RecordSet,
    RowResult,
    TrainingResult,
    VideoRecord,
    summarise,
)
from vjepa_demo.schema.labels import LabelRange
from vjepa_demo.schema.rating import (
    DimensionRatings,
    PairRater,
    PairRatings,
    RaterScore,
    RatingProgress,
    Statistic,
    Study,
    StudyClip,
    StudyStatistics,
)

NASTY = "=zq'\"><zq onzq=1>&lt;zq onzq&gt;`[zq](javascript:zq)\n| zq\n# zq"
SCORES = dict.fromkeys(DIMENSIONS, 3.0)


class Reader(HTMLParser):
    """Collects what a browser would take for tags, attributes and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attributes)}
        self.found |= {
            "script:" for name, value in attributes if name in ("href", "src") and "script:" in (value or "")
        }


def is_inert(text: str) -> bool:
    reader = Reader()
    reader.feed(text)
    return not any(each.startswith(("zq", "onzq", "script:")) for each in reader.found)


# ---- what a stranger can fill ----------------------------------------------------------------------------------------

SCORE = replace(
    RESULT,
    video=NASTY,
    prompt=NASTY,
    model=NASTY,
    notes=(NASTY,),
    unread=NASTY,
    trained_on=replace(
        RESULT.trained_on,
        description=NASTY,
        recipe=NASTY,
        known_words=(NASTY,),
        measured={NASTY: NASTY},
        vquala_score=0.5,
        no_video_baseline=0.3,
        margins=dict.fromkeys(DIMENSIONS, 0.3),
        num_margin_clips=dict.fromkeys(DIMENSIONS, 30),
    ),
)
COMPARISON = Comparison((SCORE, SCORE))
ROWS = tuple(
    BatchRow(number, {NASTY: NASTY}, NASTY, NASTY, Path(NASTY), {"Overall": 3.0}, NASTY, problem)
    for number, problem in ((2, None), (3, NASTY))
)
TABLE = BatchTable(NASTY, (NASTY, "Prompt"), ROWS, NASTY, (NASTY,))
RESULTS = (
    RowResult(ROWS[0], SCORES, None, NASTY, (NASTY,), {"Alignment": "unknown_words"}, (NASTY,)),
    RowResult(ROWS[1], None, NASTY, NASTY),
)
RECORD = VideoRecord(NASTY, Path(NASTY.replace("/", "")), NASTY, dict(SCORES), 2)
RECORDS = RecordSet((RECORD,), (RecordProblem(3, NASTY),), LabelRange(), 2, (NASTY,))
TRAINED = TrainingResult(Path("run"), 1, 1, None, (RECORD,), ((3.0,) * 5,), ((2.0,) * 5,))
NUMBER_OF = Statistic(0.5, NASTY)
UNKNOWN = Statistic(None, NASTY)
RATER = RaterScore(NASTY, 1, 0, NUMBER_OF, UNKNOWN, 0, UNKNOWN, UNKNOWN)
PAIR_RATER = PairRater(NASTY, 1, 0, NUMBER_OF, UNKNOWN, 0, UNKNOWN, UNKNOWN)
STUDY = Study("abc", NASTY, "clips", DIMENSIONS, (StudyClip("k", "v.mp4", NASTY, NASTY, "sha", generator=NASTY),))
STATISTICS = StudyStatistics(
    NASTY,
    1,
    1,
    1,
    {"Overall": DimensionRatings((), (RATER,), UNKNOWN, UNKNOWN)},
    {"Overall": PairRatings(1, (PAIR_RATER,), UNKNOWN, UNKNOWN)},
    {"k": NASTY},
    notes=(NASTY,),
)
BOARD = Board(
    (
        Clip(NASTY, Path(NASTY.replace("/", "")), result=SCORE, key=NASTY),
        Clip(NASTY, None, error=NASTY),
        Clip(NASTY, None, result=SCORE),
    ),
    NASTY,
)
SCORED = Board((Clip(NASTY, None, result=SCORE), Clip(NASTY, None, result=replace(SCORE, prompt=f"{NASTY}2"))))
SCORER = SimpleNamespace(name=NASTY, trained_on=SCORE.trained_on)


def rendered() -> Iterator[tuple[str, str]]:
    """(name, HTML) of everything that the page draws of what a stranger brought."""
    for name in ("hint", "about_model", "header", "heading"):
        given = {"hint": (NASTY,), "about_model": (NASTY, SCORE.trained_on), "header": (NASTY, NASTY, NASTY)}
        yield name, getattr(html, name)(*given.get(name, ("", NASTY, SCORE.trained_on, (NASTY,))))
    for draw in (html.score_table, html.score_heading, html.about_scores, html.marked_prompt, html.frame_strip):
        yield draw.__name__, draw(SCORE)
    yield "marked", html.marked(f"a {NASTY} cat", {"zq", "cat"}, NASTY)
    yield "screen", html.screen(NASTY, NASTY, "controls")
    yield "check_report", html.check_report(summarise(RECORDS), RECORDS)
    yield "status", html.status(NASTY, 0.5, 3.0)
    yield "metrics_table", html.metrics_table(None, NASTY)
    clip = scored_clip(NASTY, NASTY, SCORE)
    yield "history", panel(ScoreHistory([clip]))
    summary = tasks.summarise_batch(RESULTS, SCORE.trained_on)
    yield "table_report", batch_html.table_report(TABLE, is_open=True)
    yield "means", batch_html.means(RESULTS, SCORER)
    for order in ("latest", "errors", "best"):
        yield f"rows {order}", batch_html.rows(RESULTS, order)
    yield "leaderboard", batch_html.leaderboard(summary, RESULTS, SCORE.trained_on)
    yield "stage", compare_html.stage(BOARD)
    yield "empty", compare_html.empty(BOARD)
    yield "failure", html.hint(compare_html.failure(BOARD))
    yield "comparison_heading", compare_html.comparison_heading(COMPARISON)
    yield "compared", compare_html.table(SCORED, SCORED.comparison)
    yield "about", compare_html.about(SCORED, SCORED.comparison)
    yield "exports", compare_html.exports(COMPARISON)
    yield "refusal", finetune_html.refusal(NASTY)
    yield "results", finetune_html.results(None, NASTY)
    predicted = PredictedClip(RECORD, SCORES, 1.0)
    player = finetune_html.player(NASTY, NASTY)
    yield "player", player
    yield "worst", finetune_html.worst([predicted], opened=0, player=player)
    yield "rate stage", rate_html.stage(NASTY, name=NASTY, secret=NASTY, owner=NASTY, turn=NASTY)
    yield "rows of a study", rate_html.rows(STUDY)
    yield "invitation", rate_html.invitation(STUDY)
    yield "link", rate_html.link(STUDY, NASTY, ended=False)
    yield "left_out", rate_html.left_out([NASTY])
    yield "statistics", rate_html.statistics(STATISTICS)
    yield "thanks", rate_html.thanks(RatingProgress(1, 1, 1, None))


@pytest.mark.parametrize(("name", "text"), list(rendered()), ids=lambda value: value if len(value) < 30 else "")
def test_nothing_that_a_stranger_brought_is_html(name, text):
    assert text
    assert is_inert(text)


def test_the_test_would_see_what_is_not_inert():
    for text in (f"<b>{NASTY}</b>", f'<b title="{NASTY}">', f"<b title='{NASTY}'>", "<a href='javascript:zq'>"):
        assert not is_inert(text)


def test_no_module_of_fragments_is_forgotten():
    """A new function that draws something has to be added above."""
    drawn = {name for name, _ in rendered()}
    named = {
        "compared": "table",
        "rate stage": "stage",
        "rows of a study": "rows",
        "history": "panel",
        "rows latest": "rows",
    }
    known = drawn | set(named.values())
    # of numbers and names of the program alone, or within what is drawn above
    others = {"agreement", "progress", "progress_text", "ended", "signed", "sentence", "file_name", "as_csv"}
    others |= {"in_words", "interval_title", "jpeg_url", "problem_table"}
    for module in (html, batch_html, compare_html, finetune_html, rate_html):
        for name, function in vars(module).items():
            if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
                assert name.startswith("_") or name in known | others, f"{module.__name__}.{name}"


@pytest.mark.parametrize(
    "figure",
    [
        charts.radar_chart(SCORE),
        charts.comparison_chart([SCORE, SCORE]),
        charts.leaderboard_chart(tasks.summarise_batch(RESULTS, SCORE.trained_on).generators),
        charts.label_histograms(summarise(RECORDS)),
        charts.prediction_scatter(TRAINED),
    ],
)
def test_no_chart_holds_a_strangers_tag(figure):
    """Plotly takes some tags in names, titles and what the mouse shows for HTML."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for each in value.values():
                yield from texts(each)
        elif isinstance(value, list | tuple | np.ndarray):
            for each in value:
                yield from texts(each)

    shown = figure.to_plotly_json()
    for trace in shown["data"]:
        if "%{fullData.name}" not in trace.get("hovertemplate", "") and not shown["layout"].get("showlegend"):
            trace.pop("name", None)  # which is shown nowhere
    assert not [text for text in texts(shown) if "<zq" in text]


@pytest.mark.parametrize("begin", ["=1", "+1", "-1+a", "@a", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1"])
def test_no_cell_of_an_export_is_a_formula_and_what_is_read_back_is_what_was_written(begin, tmp_path):
    record = replace(RECORD, name=f"{begin}.mp4", prompt=begin)
    result = replace(SCORE, video=f"{begin}.mp4", prompt=begin, model=begin)
    tasks.write_predictions(tmp_path / "predictions.csv", replace(TRAINED, validation=(record,)))
    write_labels(tmp_path / "labels.csv", [record])
    files = [path.read_bytes().decode() for path in tmp_path.iterdir()]
    for text in (*files, compare_html.as_csv(Comparison((result, result)))):
        cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert not [
            cell for cell in cells if FORMULA.match(cell) and not cell.startswith("'") and not NUMBER.fullmatch(cell)
        ]
    assert read_csv(tmp_path / "labels.csv")["Prompt"][0] == f"'{begin}"


def test_what_a_stranger_named_is_text_in_a_model_card():
    card = model_card(ModelConfig(), SCORE.trained_on)
    assert card.count("\n---\n") == 1
    for line in card.splitlines():
        assert not line.startswith("# zq")
        assert "<zq" not in line.replace("\\<zq", "")
        assert "[zq](" not in line.replace("\\[zq\\](", "")


def test_json_and_sentences_keep_the_text_as_it_is():
    told = row_json(BatchReport(RESULTS[1], 1, 2, 1, None))
    assert told["row"]["error"] == told["row"]["prompt"] == NASTY
    assert NASTY in wording.trust(NASTY, SCORE.trained_on)
