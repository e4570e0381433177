// Shows one clip, or pair of clips, after another to a rater, and sends each answer. Follows together.js in the body of a
// function that Gradio calls once: `element` holds the stage, `server` has the functions of rate_calls.py, `trigger`
// tells the owner's page that answers came in, `watch` calls back when another study was put on the stage.
//
// The next clips are loaded while one is judged, so that an answer changes the clip at once. What the server has not
// acknowledged yet is kept in the browser and sent again: after a lost connection, and after a reload.

const STORE = "vjepa-demo-studies";
const RETRY_MILLISECONDS = 2000;
const LEARN_FROM = 10; // judged clips
const LEARN_EVERY = 5;
const SEEN_MILLISECONDS = 250;

let study = null; // what the server says of it
let who = {}; // name and secret of the rater, secret of the owner
let current = null; // the item that is judged
let ahead = []; // items that come next
let unsent = []; // answers that the server has not acknowledged
let given = {}; // the answer so far
let order = []; // its dimensions, in the order in which they were answered
let row = 0; // the dimension that the next key is for
let shownAt = 0; // milliseconds
let isSending = false;
let isPaused = false;
let isOffline = false;
let isComplete = false;
let generation = 0; // another study on the stage makes late answers to the last one void

const find = (selector) => element.querySelector(selector);
const isVisible = () => element.getClientRects().length > 0; // not while another tab is open
const isPairs = () => study.kind === "pairs";
const screenOf = (item) => item && find(`.screen-of[data-token="${item.token}"]`);
const videosOf = (item) => [...(screenOf(item)?.querySelectorAll("video") ?? [])];
const player = playTogether({ videos: () => videosOf(current), isVisible, isLooping: () => true, changed: () => {} });

// ---- what the browser keeps ------------------------------------------------------------------------------------------

let memory = null; // where the browser keeps nothing for this page

function kept() {
  if (memory) return memory;
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

function store(all) {
  try {
    localStorage.setItem(STORE, JSON.stringify(all));
  } catch {
    memory = all;
  }
}

function keep(changes) {
  const all = { ...kept(), current: study.id };
  all[study.id] = { ...all[study.id], ...changes };
  store(all);
}

// The answers by their tokens: another page of this browser may hold some for the same study.
function keepUnsent(answer) {
  keep({ unsent: { ...kept()[study.id]?.unsent, [answer.token]: answer } });
}

function dropUnsent(answer) {
  const { [answer.token]: _, ...rest } = kept()[study.id]?.unsent ?? {};
  keep({ unsent: rest });
}

function forget() {
  const { current: _, ...rest } = kept();
  store(rest);
  const address = new URL(location);
  address.searchParams.delete("study");
  history.replaceState(null, "", address);
}

// ---- the study -------------------------------------------------------------------------------------------------------

// The server's answer; null where it cannot be reached.
async function ask(name, what) {
  try {
    const answer = await server[name]({ study: study.id, ...what });
    return answer && typeof answer === "object" && !answer.detail ? answer : null;
  } catch {
    return null;
  }
}

const asRater = (what) => ({ name: who.name, secret: who.secret, ...what });

function say(text) {
  find(".say").textContent = text ?? "";
  find(".rating").classList.toggle("seen", Boolean(text) || find(".rating").classList.contains("busy"));
}

function show(part) {
  for (const each of ["join", "bench", "done"]) find(`.${each}`).hidden = each !== part;
  find(".rating").classList.toggle("busy", Boolean(part));
  find(".rating").classList.toggle("seen", Boolean(part || find(".say").textContent));
  for (const button of element.querySelectorAll("[data-do=leave]")) button.hidden = Boolean(who.owner);
}

// Another study is on the stage, or the page has loaded: that of the link, or the one that was rated last.
async function begin() {
  const { study: fromServer, ...mine } = find(".rating").dataset;
  const id = fromServer || new URLSearchParams(location.search).get("study") || kept().current;
  generation += 1;
  const now = generation;
  player.pause();
  [current, ahead, unsent, isPaused, isComplete] = [null, [], [], false, false];
  study = null;
  if (!id) return;
  study = { id };
  who = { ...kept()[id], ...mine };
  unsent = Object.values(who.unsent ?? {});
  const opened = await ask("open_study", {});
  if (now !== generation) return;
  if (!opened) return later(begin);
  if (!opened.id) return gone(opened.error);
  study = opened;
  find(".rows").innerHTML = opened.rows;
  find(".about").innerHTML = opened.about;
  if (mine.secret) {
    keep({ name: mine.name, secret: mine.secret, owner: mine.owner });
    const address = new URL(location);
    address.searchParams.set("study", id);
    history.replaceState(null, "", address); // a reload comes back to it
  }
  say("");
  if (!who.secret) return opened.ended ? finish(opened.thanks) : show("join");
  const state = await ask("rater_state", asRater({ showing: who.showing }));
  if (now !== generation) return;
  if (!state) return later(begin);
  if (state.error) return say(state.error);
  keep({});
  if (state.unknown) return opened.ended ? finish(opened.thanks) : show("join");
  take(state);
  flush();
}

// Once the server may be there again, if the same study is still on the stage.
function later(does) {
  const now = generation;
  say("The server cannot be reached. Your answers are kept here and sent again.");
  setTimeout(() => now === generation && does(), RETRY_MILLISECONDS);
}

function gone(reason) {
  show(null);
  // A study of an earlier visit that is gone is nothing to tell; a link that leads nowhere is.
  say(new URLSearchParams(location.search).has("study") || find(".rating").dataset.study ? reason : "");
}

async function join(name) {
  const now = generation;
  const joined = await ask("join_study", { name });
  if (now !== generation) return;
  if (!joined) return say("The server cannot be reached: try again.");
  if (joined.error) return say(joined.error);
  who = { ...who, name: joined.name, secret: joined.secret };
  unsent = [];
  keep({ name: joined.name, secret: joined.secret, unsent: {} });
  say("");
  take(joined);
}

// ---- items -----------------------------------------------------------------------------------------------------------

// What the server says: what comes next, and how far the rater is.
function take(state) {
  if (state.ended) return finish(state.thanks);
  const answered = new Set(unsent.map((answer) => answer.token));
  const items = state.items.filter((item) => !answered.has(item.token));
  find(".progress p").textContent = state.text;
  find(".progress span").style.width = `${(100 * state.done) / Math.max(state.total, 1)}%`;
  isComplete = !items.length && !current;
  ahead = items.filter((item) => item.token !== current?.token).slice(0, 2);
  if (!current && items.length) next();
  else if (isComplete && !unsent.length) finish(state.thanks, state.done > 0);
  else load();
}

// The item that comes next is judged now; none may be known yet.
function next() {
  current = ahead.shift() ?? null;
  const draft = current && kept()[study.id]?.draft;
  given = draft?.token === current?.token && current ? draft.given : {};
  order = Object.keys(given);
  row = firstOpen();
  shownAt = performance.now();
  keep({ showing: current?.token });
  show("bench");
  // The same key twice, or a finger that slipped, is no answer: nobody has seen the clip yet.
  const { classList } = find(".bench");
  const token = current?.token;
  classList.add("fresh");
  setTimeout(() => current?.token === token && classList.remove("fresh"), SEEN_MILLISECONDS);
  load();
  paint();
  start();
}

// The stage is free for a study of one's own; the link leads back to this one.
function leave() {
  forget();
  generation += 1;
  study = current = null;
  player.pause();
  show(null);
  say("");
}

function finish(thanks, canGoBack = false) {
  player.pause();
  [current, ahead] = [null, []];
  show("done");
  find(".done p").textContent = thanks;
  find(".done [data-do=back]").hidden = !canGoBack;
}

// A screen for the current item and those that come next; that of the current one is seen.
function load() {
  const wanted = [current, ...ahead].filter(Boolean);
  for (const screen of element.querySelectorAll(".screen-of"))
    if (!wanted.some((item) => item.token === screen.dataset.token)) screen.remove();
  for (const item of wanted) if (!screenOf(item)) find(".screens").append(screenFor(item));
  for (const screen of element.querySelectorAll(".screen-of"))
    screen.classList.toggle("seen", screen.dataset.token === current?.token);
}

function screenFor(item) {
  const screen = Object.assign(document.createElement("div"), { className: "screen-of" });
  screen.dataset.token = item.token;
  item.clips.forEach((key, side) => {
    const frame = document.createElement("div");
    frame.className = "screen";
    const name = item.clips.length > 1 ? ["Left clip", "Right clip"][side] : "Clip";
    const video = Object.assign(document.createElement("video"), { preload: "auto", muted: true, playsInline: true });
    video.setAttribute("aria-label", name);
    video.dataset.key = key;
    video.src = `study-clips/${encodeURIComponent(study.id)}/${encodeURIComponent(key)}`;
    const note = Object.assign(document.createElement("p"), { className: "note unplayable" });
    note.textContent = "Your browser cannot play this clip. Press 0: cannot judge.";
    frame.append(video, note);
    screen.append(frame);
  });
  return screen;
}

// Play once all clips of the item have something to show.
function start() {
  const videos = videosOf(current);
  if (isPaused || !videos.length || !videos.every((video) => video.error || video.readyState >= 2)) return;
  player.seek(0);
  player.play();
}

// A video that could not be loaded is loaded again once the server can be reached. What the server cannot decode either
// is left out for everybody; what it can, but not this browser, is tried once more.
async function unplayable(video) {
  const { token } = video.closest(".screen-of").dataset;
  delete video.dataset.shown;
  const now = generation;
  const isHere = () => now === generation && video.isConnected;
  const again = () => isHere() && video.load();
  const reached = await fetch(video.src, { headers: { Range: "bytes=0-0" }, cache: "no-store" }).catch(() => null);
  const state = reached && isHere() ? await ask("clip_unplayable", asRater({ key: video.dataset.key })) : null;
  if (!isHere()) return;
  if (!state || state.error) return setTimeout(again, RETRY_MILLISECONDS);
  if (state.skipped) {
    say("A clip could not be shown. It is left out for all raters.");
    ahead = ahead.filter((item) => item.token !== token);
    if (current?.token === token) current = null;
    return take(state);
  }
  if (video.dataset.tried) return video.closest(".screen").classList.add("broken");
  video.dataset.tried = "yes";
  again();
}

// ---- answers ---------------------------------------------------------------------------------------------------------

const firstOpen = () => Math.max(study.dimensions.findIndex((name) => !(name in given)), 0);
const isFull = () => study.dimensions.every((name) => name in given);

function set(value, at = row) {
  if (find(".bench").classList.contains("fresh")) return;
  if (value !== null && !videosOf(current).every((video) => video.dataset.shown))
    return say("The clip is not shown yet. Press 0 if you cannot judge it.");
  if (!isOffline) say("");
  const name = study.dimensions[at];
  given[name] = value;
  order = [...order.filter((each) => each !== name), name];
  row = isFull() ? at : firstOpen();
  keep({ draft: { token: current.token, given } });
  if (study.dimensions.length === 1) submit();
  else paint();
}

function submit() {
  if (!current) return;
  const missing = study.dimensions.filter((name) => !(name in given));
  if (missing.length) return say(`Not answered yet: ${missing.join(", ")}. Press 0 where you cannot judge.`);
  const seconds = (performance.now() - shownAt) / 1000;
  const answer = { token: current.token, given, seconds };
  unsent.push(answer);
  keepUnsent(answer);
  keep({ draft: null });
  next();
  flush();
}

async function flush() {
  if (isSending) return;
  isSending = true;
  const now = generation;
  const isSame = () => now === generation;
  while (unsent.length && isSame()) {
    const answer = unsent[0];
    const state = await ask("rate_item", asRater({ ...answer, showing: current?.token }));
    if (!isSame()) break;
    if (!state || state.retry) {
      isOffline = true;
      say(state?.error ?? "The server cannot be reached. Your answers are kept here and sent again.");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
      continue;
    }
    if (state.ended) {
      // Kept: the owner may open the study again.
      finish(state.error ?? state.thanks);
      break;
    }
    unsent.shift();
    dropUnsent(answer);
    if (state.error) {
      // What was refused is not asked for again; what can still be answered comes from the server.
      say(`An answer was not taken. ${state.error}`);
      const fresh = await ask("rater_state", asRater({}));
      if (fresh && !fresh.error && isSame()) take(fresh);
      continue;
    }
    if (isOffline) say("");
    isOffline = false;
    take(state);
    const isDue = state.judged >= LEARN_FROM && (state.judged - LEARN_FROM) % LEARN_EVERY === 0;
    if (who.owner && (isDue || isComplete)) trigger("judged");
  }
  isSending = false;
  if (unsent.length && !isSame()) flush();
}

// The last score of this item is taken back, or where there is none, the answer to the item before.
async function back() {
  if (current && order.length) {
    const name = order.pop();
    delete given[name];
    row = study.dimensions.indexOf(name);
    keep({ draft: { token: current.token, given } });
    return paint();
  }
  if (unsent.length || isSending) return; // it is on its way: in a moment it can be undone
  const now = generation;
  const state = await ask("undo_rating", asRater({}));
  if (now !== generation) return;
  if (!state) return say("The server cannot be reached: try again.");
  say(state.error);
  if (state.error || !state.undone) return;
  ahead = [state.undone, current, ...ahead].filter(Boolean);
  current = null;
  keep({ draft: { token: state.undone.token, given: {} } });
  next();
  take(state);
}

function pause() {
  isPaused = !isPaused;
  if (isPaused) player.pause();
  else start();
  paint();
}

// ---- what is shown ---------------------------------------------------------------------------------------------------

function paint() {
  const bench = find(".bench");
  bench.classList.toggle("waiting", !current);
  bench.classList.toggle("resting", isPaused);
  bench.classList.toggle("two", isPairs());
  find(".prompt").textContent = current ? `“${current.prompt}”` : "";
  find(".practice").hidden = !current?.is_warm_up;
  element.querySelectorAll(".question").forEach((line, at) => {
    line.classList.toggle("active", at === row && study.dimensions.length > 1);
    const value = given[study.dimensions[at]];
    for (const button of line.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(value !== undefined && button.dataset.value === String(value)));
  });
  const control = (name) => find(`.actions [data-do=${name}]`);
  control("next").hidden = study.dimensions.length === 1;
  control("next").disabled = !current || !isFull();
  control("pause").firstChild.textContent = isPaused ? "Go on " : "Pause ";
}

// ---- what is pressed -------------------------------------------------------------------------------------------------

const asValue = (text) => (text === "null" ? null : isPairs() ? text : Number(text));

const DONE = {
  back,
  replay: () => (player.seek(0), player.play()),
  none: () => current && set(null),
  pause,
  next: submit,
  leave,
};

const PAIR_KEYS = { 1: "a", 2: "same", 3: "b", ArrowLeft: "a", ArrowDown: "same", ArrowRight: "b" };

// What a key does; nothing where it is none of ours.
function meant(key) {
  if (isPaused) return key === "p" ? pause : null; // the stage says so
  if (key === "Backspace") return back;
  if (!current) return null;
  if (key === "0") return DONE.none;
  if (isPairs() && key in PAIR_KEYS) return () => set(PAIR_KEYS[key]);
  if (!isPairs() && /^[1-5]$/.test(key)) return () => set(Number(key));
  if (key === "ArrowUp" || key === "ArrowDown") {
    const step = key === "ArrowUp" ? -1 : 1;
    return () => ((row = Math.min(Math.max(row + step, 0), study.dimensions.length - 1)), paint());
  }
  return { Enter: submit, r: DONE.replay, p: pause }[key] ?? null;
}

document.addEventListener("keydown", (event) => {
  if (!isVisible() || !study || (find(".bench").hidden && find(".done").hidden)) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable=true], [role=listbox]")) return;
  const isOurs = element.contains(event.target);
  if (event.key === "Enter" && event.target.closest?.("button, a") && !isOurs) return;
  const does = meant(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (!does) return;
  event.preventDefault(); // Enter would also press the button that has the focus
  does();
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target.closest("video") && current) DONE.replay();
  if (!button || (!button.dataset.do && !button.dataset.value)) return;
  button.blur(); // the keys are for the stage
  if (button.dataset.do) return DONE[button.dataset.do]();
  const lines = [...element.querySelectorAll(".question")];
  if (current && !isPaused) set(asValue(button.dataset.value), lines.indexOf(button.closest(".question")));
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.(".study-link [data-copy]");
  if (!button) return;
  const link = button.closest("p").querySelector("a").href;
  // Browsers have no clipboard for a page that came without encryption, as in a local network.
  if (!navigator.clipboard) return window.prompt("The link for raters", link);
  await navigator.clipboard.writeText(link);
  button.textContent = "Copied";
});

element.addEventListener("submit", (event) => {
  event.preventDefault();
  join(find(".join input").value);
});

// Events of a video do not bubble, but they can be captured on their way down.
element.addEventListener(
  "loadeddata",
  ({ target }) => {
    target.dataset.shown = "yes"; // a jump within the video makes its readyState fall for a moment
    if (videosOf(current).includes(target)) start();
  },
  true,
);
element.addEventListener("error", (event) => event.target.matches?.("video") && unplayable(event.target), true);
// The stage was hidden, by another tab of the page or of the browser, and is seen again.
const goOn = () => isVisible() && current && !player.playing && start();
new IntersectionObserver(goOn).observe(element);
document.addEventListener("visibilitychange", () => document.hidden || goOn());

watch("value", begin);
begin();
