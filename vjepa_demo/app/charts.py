"""Scores as charts. Backgrounds are transparent, so that a chart sits well on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from operator import add, sub
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vjepa_demo.config import ACR_WORDS, COMPARED_LETTERS, DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import GroupScores, RecordSummary, TrainingResult, VideoScores
from vjepa_demo.schema.learning import Learned
from vjepa_demo.wording import interval_text

LINE, FILL = "#f97316", "rgba(249, 115, 22, 0.25)"
SECOND_LINE = "#0ea5e9"
NEUTRAL = "#7d838c"  # readable on white and on near-black; the page replaces it by the theme's text colour
CLEAR = "rgba(0,0,0,0)"
GRID = "rgba(125, 131, 140, 0.35)"
# Orange, sky blue, bluish green and reddish purple are told apart by the colour blind (Okabe & Ito, Color Universal
# Design, 2008); dashes and marks tell them apart without colour.
CLIP_COLOURS = (LINE, SECOND_LINE, "#009e73", "#cc79a7")
CLIP_DASHES = ("solid", "dash", "dot", "dashdot")
CLIP_MARKS = ("circle", "square", "diamond", "triangle-up")
WORDS_ANGLE = 90 - 36  # degrees from the right, counter-clockwise
CHART_HEIGHT = 420
NOT_MEANINGFUL = '<i style="font-size: 9px">not meaningful</i>'  # beside the chart on a phone there is little room
LEADERBOARD_ROW = 34  # pixels
STANDARDS = (("before", NEUTRAL, "dash"), ("no_video", "#cc79a7", "dot"), ("ceiling", "#009e73", "dashdot"))
MOST_LABELLED = 30  # dots that have their number beside them
NAME_CHARACTERS = 28  # of a video in a legend, of a generator beside its dot


def radar_chart(result: VideoScores) -> go.Figure:
    """The five scores of `result` on five axes, each from 1 (Bad, the centre) to 5 (Excellent, the rim), with whiskers
    for their intervals."""
    labels = [
        f"{name}<br>" + (NOT_MEANINGFUL if name in result.doubts else f"<b>{result.scores[name]:.2f}</b>")
        for name in DIMENSIONS
    ]
    outline = _outline(result, labels, LINE, "circle")
    outline.update(name=result.model, fill="toself", fillcolor=FILL, hovertemplate="%{theta}<extra></extra>")
    reaches = [(place, each) for place, each in enumerate(result.intervals.values()) if each]
    whiskers = go.Scatterpolar(
        r=[end for _, (low, high) in reaches for end in (low, high, None)],  # None ends a line
        theta=[labels[place] for place, _ in reaches for _ in range(3)],
        mode="lines+markers",
        line={"color": NEUTRAL, "width": 1.5},
        marker={
            "color": NEUTRAL,
            "size": 9,
            "symbol": "line-ew-open",
            "angle": [360 / len(DIMENSIONS) * place for place, _ in reaches for _ in range(3)],  # across the axis
        },
        hovertext=[f"90 % interval: {interval_text(each)}" for _, each in reaches for _ in range(3)],
        hoverinfo="text",
        name="90 % intervals",
    )
    return _radar(go.Figure([outline, whiskers] if reaches else outline), height=CHART_HEIGHT)


def comparison_chart(results: Sequence[VideoScores], *, places: Sequence[int] | None = None) -> go.Figure:
    """The radars of up to four videos over each other, each with its name and the letter of its place, A to D.

    `places` are the places, from 0, of `results` among the clips on the page; None where there are no others.
    """
    figure = go.Figure()
    doubtful = {name for result in results for name in result.doubts}
    axes = [f"{name}<br>{NOT_MEANINGFUL}" if name in doubtful else name for name in DIMENSIONS]
    for place, result in zip(places or range(len(results)), results, strict=True):
        outline = _outline(result, axes, CLIP_COLOURS[place], CLIP_MARKS[place])
        outline.line.dash = CLIP_DASHES[place]
        outline.name = f"{COMPARED_LETTERS[place]} · {_shortened(Path(result.video).name)}"
        outline.hovertemplate = "%{theta} %{r:.2f}<extra>%{fullData.name}</extra>"
        figure.add_trace(outline)
    figure.update_layout(legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.12, "itemwidth": 40})
    return _radar(figure, height=CHART_HEIGHT + 40, showlegend=True)


def _outline(result: VideoScores, axes: Sequence[str], colour: str, mark: str) -> go.Scatterpolar:
    """The scores on `axes` as a closed line, so with the first of them again at the end; doubtful ones are hollow."""
    values = [result.scores[name] for name in DIMENSIONS]
    marks = [f"{mark}-open" if name in result.doubts else mark for name in DIMENSIONS]
    return go.Scatterpolar(
        r=[*values, values[0]],
        theta=[*axes, axes[0]],
        mode="lines+markers",
        line={"color": colour, "width": 2.5},
        marker={"color": colour, "size": 7, "symbol": [*marks, marks[0]]},
    )


def _radar(figure: go.Figure, *, height: int, showlegend: bool = False) -> go.Figure:
    """Five axes, each from 1 to 5 with the words of ITU-T P.910, written half-way between the first two dimensions."""
    ticks = [SCORE_MIN + step for step in range(len(ACR_WORDS))]
    score_axis = {
        "range": [SCORE_MIN, SCORE_MAX],
        "tickvals": ticks,
        "ticktext": [f"{tick:.0f} {word}" for tick, word in zip(ticks, ACR_WORDS, strict=True)],
        "tickfont": {"size": 10},
        "angle": WORDS_ANGLE,
        "tickangle": WORDS_ANGLE,  # plotly counts from the axis: the words lie flat
        "gridcolor": GRID,
        "linecolor": GRID,
    }
    dimension_axis = {"direction": "clockwise", "rotation": 90, "gridcolor": GRID, "linecolor": GRID}
    figure.update_layout(polar={"bgcolor": CLEAR, "radialaxis": score_axis, "angularaxis": dimension_axis})
    _plain(figure, height=height, showlegend=showlegend)
    return figure.update_layout(font_size=13, margin={"l": 70, "r": 70, "t": 40, "b": 40})


def _shortened(name: str) -> str:
    """`name` as plain text for plotly, cut in the middle."""
    cut = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 9]}…{name[-8:]}"
    return without_tags(cut)


def without_tags(text: str) -> str:
    """`text` as plain text for plotly, which takes tags in names and titles for HTML."""
    return text.replace("<", "‹").replace(">", "›")


def label_histograms(summary: RecordSummary) -> go.Figure:
    """How the labels are spread: a small histogram from 1 to 5 for each dimension."""
    names = [each.dimension for each in summary.dimensions]
    figure = make_subplots(1, max(1, len(names)), subplot_titles=names, shared_yaxes=True)
    for column, each in enumerate(summary.dimensions, start=1):
        width = (SCORE_MAX - SCORE_MIN) / len(each.histogram)
        centres = [SCORE_MIN + (index + 0.5) * width for index in range(len(each.histogram))]
        bars = go.Bar(x=centres, y=each.histogram, width=width * 0.92, marker_color=LINE, name=each.dimension)
        figure.add_trace(bars, row=1, col=column)
    figure.update_xaxes(range=[SCORE_MIN, SCORE_MAX], dtick=1)
    return _plain(figure, height=190)


def training_curves(epochs: Sequence[tuple[int, float | None, float | None, float | None]]) -> go.Figure:
    """Training and validation loss, and the validation's VQualA score, over the epochs.

    `epochs` holds (epoch, loss, validation loss, VQualA score), None where there is none; epoch 0 is the start.
    """
    numbers = [epoch for epoch, *_ in epochs]
    figure = make_subplots(1, 2, subplot_titles=["Loss", "VQualA score on the validation clips"])
    for name, column, values, colour in (
        ("training", 1, [loss for _, loss, _, _ in epochs], LINE),
        ("validation", 1, [loss for _, _, loss, _ in epochs], SECOND_LINE),
        ("VQualA score", 2, [score for *_, score in epochs], SECOND_LINE),
    ):
        line = go.Scatter(x=numbers, y=values, name=name, mode="lines+markers", line={"color": colour})
        figure.add_trace(line, row=1, col=column)
    figure.update_xaxes(title_text="epoch", dtick=max(1, round(max(numbers, default=0) / 10)))  # whole epochs
    figure.update_layout(legend={"orientation": "h", "y": -0.3})
    return _plain(figure, height=320, showlegend=True)


def prediction_scatter(result: TrainingResult) -> go.Figure | None:
    """Predicted against labelled scores, a panel for each dimension with labels; the line is agreement.

    None without a validation set.
    """
    points: dict[str, list[tuple[float, float]]] = {}  # (label, prediction)
    for labels, predictions in zip(result.labels, result.predictions, strict=True):
        for name, label, prediction in zip(DIMENSIONS, labels, predictions, strict=True):
            if not isnan(label):  # else the clip has no label for it
                points.setdefault(name, []).append((label, prediction))
    if not points:
        return None
    names = [name for name in DIMENSIONS if name in points]
    figure = make_subplots(1, len(names), subplot_titles=names, shared_yaxes=True)
    for column, name in enumerate(names, start=1):
        ends, (x, y) = [SCORE_MIN, SCORE_MAX], zip(*points[name], strict=True)
        line = go.Scatter(x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip")
        dots = go.Scatter(x=x, y=y, mode="markers", name=name, marker={"color": LINE, "size": 7})
        figure.add_traces([line, dots], rows=[1, 1], cols=[column, column])
        figure.update_xaxes(title_text="label", row=1, col=column)
    figure.update_xaxes(range=[SCORE_MIN - 0.1, SCORE_MAX + 0.1], dtick=1)
    figure.update_yaxes(range=[SCORE_MIN - 0.1, SCORE_MAX + 0.1], dtick=1)
    figure.update_yaxes(title_text="prediction", row=1, col=1)
    return _plain(figure, height=280)


def agreement_curves(points: Sequence[Learned]) -> go.Figure:
    """How well a model that learns agrees with the raters, over the number of rated clips: a panel a dimension.

    The band is one standard error. Straight lines are the model as it was, what prompts alone tell, and the ceiling,
    all after the last of `points`; there is none where one is not known.
    """
    last = points[-1].to_dict()["dimensions"]
    names = [name for name in DIMENSIONS if name in last]
    columns = min(2, len(names))
    num_rows = -(-len(names) // columns)
    figure = make_subplots(num_rows, columns, subplot_titles=names, shared_yaxes=True, vertical_spacing=0.3 / num_rows)
    explained: set[str] = set()  # lines that are in the legend
    for place, name in enumerate(names):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        curve = [(point.num_clips, found) for point in points if (found := point.to_dict()["dimensions"].get(name))]
        told = [(number, found["after"], found["after_standard_error"] or 0.0) for number, found in curve]
        told = [each for each in told if each[1] is not None]
        numbers = [number for number, _, _ in told]
        band = [value + error for _, value, error in told] + [value - error for _, value, error in reversed(told)]
        figure.add_trace(
            go.Scatter(
                x=[*numbers, *reversed(numbers)],
                y=band,
                fill="toself",
                fillcolor=FILL,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
            ),
            **where,
        )
        values = [value for _, value, _ in told]
        look = {"mode": "lines+markers", "line": {"color": LINE, "width": 2.5}, "legendgroup": "learned"}
        figure.add_trace(
            go.Scatter(x=numbers, y=values, name="learned", showlegend=not place, **look),
            **where,
        )
        ends = [points[0].num_clips, points[-1].num_clips]
        for kind, colour, dash in STANDARDS:
            if (value := last[name][kind]) is None:
                continue
            line = go.Scatter(
                x=ends if ends[0] < ends[1] else [ends[0] - 1, ends[0] + 1],
                y=[value, value],
                name=kind.replace("_", " "),
                legendgroup=kind,
                showlegend=kind not in explained,
                mode="lines",
                line={"color": colour, "dash": dash},
            )
            explained.add(kind)
            figure.add_trace(line, **where)
    figure.update_xaxes(dtick=max(1, round((points[-1].num_clips - points[0].num_clips) / 5)))
    figure.update_xaxes(title_text="rated clips", row=num_rows)
    figure.update_yaxes(matches="y")
    figure.update_yaxes(title_text="SROCC", col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.35 / num_rows})
    return _plain(figure, height=120 + 170 * num_rows, showlegend=True)


def leaderboard_chart(groups: Sequence[GroupScores]) -> go.Figure:
    """The mean Overall score of each group, which has one: a dot each, the first on top, with a bar of one standard
    error. The axis shows the part of the scale where the bars are, which is at least one point wide.
    """
    names = [_shortened(group.name) for group in groups]
    means = [group.means["Overall"] for group in groups]
    errors = [group.standard_errors["Overall"] for group in groups]
    bars = [error or 0.0 for error in errors]
    places = list(range(len(groups)))
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=places,
            mode="markers+text" if len(groups) <= MOST_LABELLED else "markers",
            text=[f"{mean:.2f}" for mean in means],
            textposition="top center",
            error_x={"array": bars, "color": LINE, "thickness": 1.5, "width": 4},
            marker={"color": LINE, "size": 10},
            customdata=[
                [name, "" if error is None else f" ± {error:.2f}"] for name, error in zip(names, errors, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.2f}%{customdata[1]}<extra></extra>",
        )
    )
    _plain(figure, height=100 + LEADERBOARD_ROW * len(groups))
    low, high = min(map(sub, means, bars)), max(map(add, means, bars))
    room = max(0.1, (1 - (high - low)) / 2)
    low = max(SCORE_MIN - 0.1, min(low - room, SCORE_MAX - 1))
    high = min(SCORE_MAX + 0.1, max(high + room, SCORE_MIN + 1))
    figure.update_xaxes(title_text="Overall ± standard error", dtick=0.5, range=[low, high])
    figure.update_yaxes(
        tickvals=places,
        ticktext=names,
        range=[len(groups) - 0.4, -0.7],  # the first on top, with room for its number
        automargin=True,
    )
    return figure.update_layout(margin={"t": 10})


def _plain(figure: go.Figure, *, height: int, showlegend: bool = False) -> go.Figure:
    """The look that all charts share."""
    figure.update_layout(
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"color": NEUTRAL, "size": 12},
        height=height,
        margin={"l": 50, "r": 20, "t": 40, "b": 50},
        showlegend=showlegend,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_annotations(font_size=13)
    return figure
