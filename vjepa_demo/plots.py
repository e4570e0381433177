"""Scores as charts. Backgrounds are transparent, so that a chart sits well on a light and on a dark page."""

from __future__ import annotations

import plotly.graph_objects as go

from vjepa_demo.config import ACR_WORDS, DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import VideoScores

LINE, FILL = "#f97316", "rgba(249, 115, 22, 0.25)"
NEUTRAL = "#7d838c"  # readable on white and on near-black; the page replaces it by the theme's text colour
GRID = "rgba(125, 131, 140, 0.35)"
WORDS_ANGLE = 90 - 36  # degrees from the right, counter-clockwise
CHART_HEIGHT = 420


def radar_chart(result: VideoScores) -> go.Figure:
    """The five scores of `result` on five axes, each from 1 (Bad, the centre) to 5 (Excellent, the rim)."""
    values = [result.scores[name] for name in DIMENSIONS]
    labels = [f"{name}<br><b>{value:.2f}</b>" for name, value in zip(DIMENSIONS, values, strict=True)]
    figure = go.Figure(
        go.Scatterpolar(
            r=[*values, values[0]],  # back to the first point: the outline closes
            theta=[*labels, labels[0]],
            name=result.model,
            mode="lines+markers",
            fill="toself",
            fillcolor=FILL,
            line={"color": LINE, "width": 2.5},
            marker={"color": LINE, "size": 7},
            hovertemplate="%{theta}<extra></extra>",
        )
    )
    figure.update_layout(
        polar={"bgcolor": "rgba(0,0,0,0)", "radialaxis": _score_axis(), "angularaxis": _dimension_axis()},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": NEUTRAL, "size": 13},
        height=CHART_HEIGHT,
        margin={"l": 70, "r": 70, "t": 40, "b": 40},
        showlegend=False,
    )
    return figure


def _score_axis() -> dict[str, object]:
    """1 to 5 with the words of ITU-T P.910, written half-way between the first two dimensions."""
    ticks = [SCORE_MIN + step for step in range(len(ACR_WORDS))]
    return {
        "range": [SCORE_MIN, SCORE_MAX],
        "tickvals": ticks,
        "ticktext": [f"{tick:.0f} {word}" for tick, word in zip(ticks, ACR_WORDS, strict=True)],
        "tickfont": {"size": 10},
        "angle": WORDS_ANGLE,
        "tickangle": WORDS_ANGLE,  # plotly counts from the axis: the words lie flat
        "gridcolor": GRID,
        "linecolor": GRID,
    }


def _dimension_axis() -> dict[str, object]:
    return {"direction": "clockwise", "rotation": 90, "gridcolor": GRID, "linecolor": GRID}
