"""Colours, spacing and the few rules of style that Gradio's components do not have."""

from __future__ import annotations

import gradio as gr

THEME = gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]).set(
    background_fill_primary="*neutral_50",  # what Soft has; `set` forgets it
    body_text_color_subdued="*neutral_600",  # small text has to stand out from the page by 4.5 to 1
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
)

CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important; }
.tabitem .html-container { padding: 0 !important; }
#header .bar { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem 1rem; padding: .4rem 0; }
#header h1 { font-size: 1.45rem; margin: 0; }
#header p { margin: 0; color: var(--body-text-color-subdued); flex: 1 1 16rem; }
#header a { margin: 0; padding: 0; }
#header .badge { font-size: .85rem; padding: .15rem .7rem; border-radius: 1rem; white-space: nowrap;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary); }
#header .badge::before { content: "●"; margin-right: .4rem; color: var(--body-text-color-subdued); }
#header .badge.ready::before { color: #16a34a; }
#first-head { align-items: center; }
#hint p, #train-hint p, #batch-hint p, #first-head p { margin: 0;
  color: var(--body-text-color-subdued); font-size: .9rem; }
/* a field for files is as high when it is locked, and its label does not lie on the icon */
#labels, #label-videos, #batch-table, #batch-videos { min-height: 150px; }
:is(#labels, #label-videos, #batch-table, #batch-videos):has(.empty) { height: 150px; }
:is(#labels, #label-videos, #batch-table, #batch-videos) .empty { min-height: 0; height: 115px; }
:is(#labels, #label-videos, #batch-table, #batch-videos) .upload-container { padding-top: 1.6rem; }
:is(#labels, #label-videos, #batch-table, #batch-videos) .upload-container .icon-wrap { margin-bottom: 0; }
.modebar-container { display: none !important; }
.js-plotly-plot text { fill: var(--body-text-color) !important; }
.scores { width: 100%; border-collapse: collapse; }
.scores, .scores tbody, .scores tr, .scores td { border: 0 !important; }
.scores td { padding: .4rem .5rem; text-align: left; }
.scores tr + tr td { border-top: 1px solid var(--border-color-primary) !important; }
.scores .value { font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap; }
.scores .meter { width: 34%; min-width: 4rem; }
.scores .meter div { height: .5rem; border-radius: .25rem; background: var(--border-color-primary); }
.scores .meter span { display: block; height: 100%; border-radius: .25rem; background: var(--color-accent); }
.scores small { display: block; color: var(--body-text-color-subdued); }
.heading p { margin: 0 0 .2rem; color: var(--body-text-color-subdued); font-size: .9rem; }
.heading b { color: var(--body-text-color); }
.heading .what { color: var(--body-text-color); overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
:is(.heading, .compared, .batch-rows) mark { background: none; color: inherit;
  text-decoration: underline wavy #d97706 1.5px; }
.scores :is(.doubtful :is(.value, .meter, .difference), td.doubtful) { opacity: .5; }
.about-scores { color: var(--body-text-color-subdued); font-size: .9rem; overflow-wrap: anywhere; }
.about-scores b { color: var(--body-text-color); }
.strip-title { margin: 0 0 .4rem; font-size: .9rem; color: var(--body-text-color-subdued); }
.strip { contain: inline-size; display: flex; gap: .4rem; overflow-x: auto; padding-bottom: .4rem; }
.strip figure { flex: 0 0 auto; margin: 0; text-align: center; font-size: .75rem;
  color: var(--body-text-color-subdued); }
.strip img { height: 88px; width: 88px; border-radius: .3rem; display: block; }
.more-views { margin: .2rem 0 .4rem; font-size: .9rem; color: var(--body-text-color-subdued); }
.more-views summary { cursor: pointer; margin-bottom: .4rem; }
.history { contain: inline-size; list-style: none; margin: 0; padding: 0; max-height: 22rem; overflow-y: auto; }
.history li { display: flex; align-items: stretch; gap: .4rem; }
.history li + li { border-top: 1px solid var(--border-color-primary); }
.history button { border: 0; background: none; color: var(--body-text-color); cursor: pointer; font: inherit; }
.history button:hover { background: var(--background-fill-secondary); }
.history .back { display: flex; flex: 1 1 0; min-width: 0; align-items: center; gap: .6rem; padding: .35rem;
  text-align: left; }
.history img { width: 44px; height: 44px; border-radius: .3rem; }
.history .said { flex: 1 1 0; min-width: 0; }
.history .said :is(b, small), .history .overall small { display: block; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.history small { color: var(--body-text-color-subdued); }
.history .overall { text-align: right; max-width: 8rem; }
.history .overall b { display: block; font-variant-numeric: tabular-nums; }
.history .send { padding: 0 .5rem; font-size: .85rem; color: var(--body-text-color-subdued); border-radius: .3rem; }
.empty { display: grid; place-items: center; min-height: 20rem; text-align: center; padding: 1rem;
  border: 1px dashed var(--border-color-primary); border-radius: var(--block-radius);
  color: var(--body-text-color-subdued); }
.problems { max-height: 14rem; overflow: auto; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); }
/* A shade at the side where there is more: two covers that go along with the table, over two shades that do not. */
.wide { contain: inline-size; overflow-x: auto;
  --shade: color-mix(in srgb, var(--body-text-color) 22%, transparent); background:
  linear-gradient(90deg, var(--body-background-fill) 40%, transparent) 0 0 / 2rem 100% no-repeat local,
  linear-gradient(270deg, var(--body-background-fill) 40%, transparent) 100% 0 / 2rem 100% no-repeat local,
  linear-gradient(90deg, var(--shade), transparent) 0 0 / .7rem 100% no-repeat scroll,
  linear-gradient(270deg, var(--shade), transparent) 100% 0 / .7rem 100% no-repeat scroll; }
.wide :is(table, thead, tbody, tr, th, td) { background: none !important; }
.about-scores .scores td:last-child { white-space: nowrap; text-align: right; }
.metrics td { white-space: nowrap; font-size: .85rem; padding: .4rem .35rem; }
.metrics th { font-weight: 600; text-align: left; padding: .4rem .35rem; border: 0 !important; }
.leaderboard .name { max-width: 12rem; overflow: hidden; text-overflow: ellipsis; }
.train-status p { margin: 0 0 .3rem; }
.bar-line { height: .5rem; border-radius: .25rem; background: var(--border-color-primary); }
.bar-line span { display: block; height: 100%; border-radius: .25rem; background: var(--color-accent); }
#hint, #train-hint, #batch-hint { min-height: 1.4rem; }
.about-scores summary { cursor: pointer; margin-bottom: .3rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(5.5rem, 1fr)); gap: .5rem; }
.tile { padding: .5rem .6rem; border: 1px solid var(--border-color-primary); border-radius: var(--block-radius); }
.tile b { font-size: 1.25rem; font-variant-numeric: tabular-nums; margin-right: .3rem; }
.tile small { white-space: nowrap; color: var(--body-text-color-subdued); }
.tile small:first-child { display: block; }
.tile .bar-line { margin-top: .3rem; height: .3rem; }
#batch-rows { max-height: 32rem; overflow: auto !important; contain: inline-size; }
.batch-rows th { position: sticky; top: 0; background: var(--body-background-fill); font-weight: 600; text-align: left;
  padding: .4rem; border: 0 !important; font-size: .8rem; }
.batch-rows td { vertical-align: top; font-size: .9rem; padding: .4rem; }
.batch-rows .row-clip { width: 100%; min-width: 8rem; max-width: 0; overflow-wrap: anywhere; }
.batch-rows .row-clip small { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.batch-rows .value { font-weight: 400; }
.batch-rows .value:last-child { font-weight: 600; }
.tiles + .heading { margin-top: .5rem; }
.batch-rows .row-line { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.batch-rows .row-failed { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.batch-rows .row-failed::before { content: "✕"; color: #dc2626; margin-right: .4rem; }
#model input, #batch-model input { padding-right: 2rem; text-overflow: ellipsis; }
#json .cm-line { white-space: pre-wrap; overflow-wrap: anywhere; }
.tab-wrapper { contain: inline-size; }
@media (max-width: 700px) {
  .tab-container button { padding: 0 .45rem; }
  .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  /* charts of several panels keep their size and scroll */
  #histograms, #curves, #scatter { contain: inline-size; overflow-x: auto; }
  #histograms .js-plotly-plot, #curves .js-plotly-plot, #scatter .js-plotly-plot { min-width: 640px; }
  .scores .meter { display: none; }
  .leaderboard .name { max-width: 7rem; }
  /* a row's scores come below its clip's name */
  .batch-rows thead { display: none; }
  .batch-rows, .batch-rows tbody { display: block; }
  .batch-rows tr { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); padding: .3rem 0; }
  .batch-rows tr + tr { border-top: 1px solid var(--border-color-primary) !important; }
  .batch-rows td, .batch-rows tr + tr td { padding: .1rem .2rem; border: 0 !important; }
  .batch-rows .row-clip { grid-column: 2 / -1; width: auto; max-width: none; min-width: 0; }
  .batch-rows .row-failed { grid-column: 1 / -1; }
  .batch-rows .value::before { content: attr(data-dimension); display: block; font-size: .7rem; font-weight: 400;
    color: var(--body-text-color-subdued); }
  /* one column: the results come right after the button, the examples last */
  #score-row { flex-direction: column; flex-wrap: nowrap; }
  #inputs-column { display: contents; }
  #inputs-column > * { width: 100%; }
  #results-column { order: 1; width: 100%; }
  #history { order: 2; }
  #examples { order: 3; }
}
"""
