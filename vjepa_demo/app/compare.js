// Plays, pauses and seeks all clips of the Compare tab together, and saves what is shown. The body of a function that
// Gradio calls once: `element` holds the cards, `trigger` tells the server which of their buttons was pressed, `watch`
// calls back when the cards have changed. The control below the cards is a component of its own, so that drawing the
// cards anew leaves it alone.

const SEEK_APART = 0.25; // seconds: clips farther apart are put together by a jump, closer ones by their speed
const IN_STEP = 1 / 60; // seconds: half a frame of most videos
const AT_END = 0.05; // seconds

let playing = false;
let at = 0; // seconds: where all clips are, or where they ended
let heard = null; // the letter of the clip whose sound is on
let known = new Set(); // the keys of the clips that were here when the cards last changed
const asked = []; // what was pressed on cards and the server does not know yet
let isAsking = false;

const control = (name) => document.querySelector(`#compare-player [data-control=${name}]`);
const videos = () => [...element.querySelectorAll("video")];
const isPlayable = (video) =>
  !video.error && video.readyState > 0 && video.videoWidth > 0 && Number.isFinite(video.duration);
const clips = () => videos().filter(isPlayable);
const longest = () => clips().reduce((best, video) => (best && best.duration >= video.duration ? best : video), null);
const duration = () => longest()?.duration ?? 0;
const letter = (video) => video.closest(".clip").dataset.letter;
const isLooping = () => control("loop").getAttribute("aria-pressed") === "true";
const isWaiting = (video) => video.seeking || (video.readyState < 3 && video.currentTime < video.duration - 0.1);
const isSettled = (video) => Boolean(video.error) || video.readyState > 0;
const isVisible = () => element.getClientRects().length > 0; // not while another tab is open
const isPast = (video) => at >= video.duration - AT_END && video !== longest();

// ---- playing together ------------------------------------------------------------------------------------------------

function put(video) {
  const target = Math.min(at, video.duration);
  if (!video.seeking && Math.abs(video.currentTime - target) > 1e-3) video.currentTime = target;
}

function seek(seconds) {
  at = Math.min(Math.max(seconds, 0), duration());
  clips().forEach(put);
  paint();
}

function play() {
  if (!clips().length) return;
  if (at >= duration() - AT_END) seek(0);
  playing = true;
  requestAnimationFrame(keepTogether);
  paint();
}

function pause() {
  playing = false;
  for (const video of clips()) {
    video.pause();
    video.playbackRate = 1;
    put(video);
  }
  paint();
}

function resume(video) {
  // Refused where the browser wants a click first, or where the card is gone: the next frame asks again, or nobody does.
  if (video.paused) video.play().catch(() => {});
}

function end() {
  if (isLooping()) return seek(0);
  at = duration();
  pause();
}

// Once a frame: the longest clip is the clock; the others follow it, and all wait for one that has nothing to show.
function keepTogether() {
  if (!playing) return;
  if (!isVisible()) return pause();
  const clock = longest();
  if (!clock) return pause();
  if (!clock.seeking) at = clock.currentTime;
  if (clock.ended) end();
  if (!playing) return; // to play a clip that has ended would begin it again
  const going = clips().filter((video) => !isPast(video));
  const waiting = going.some(isWaiting);
  for (const video of clips()) {
    if (!going.includes(video)) stopAtEnd(video);
    else if (waiting && !isWaiting(video)) video.pause();
    else resume(video);
    if (!waiting && going.includes(video)) keepInStep(video);
  }
  paint();
  requestAnimationFrame(keepTogether);
}

function stopAtEnd(video) {
  video.pause();
  put(video);
}

function keepInStep(video) {
  const ahead = video.currentTime - at;
  if (Math.abs(ahead) > SEEK_APART) put(video);
  else if (Math.abs(ahead) > IN_STEP) video.playbackRate = 1 - Math.max(-0.2, Math.min(0.2, 2 * ahead));
  else video.playbackRate = 1;
}

// ---- what is shown ---------------------------------------------------------------------------------------------------

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

function paint() {
  const bar = document.querySelector("#compare-player .player");
  if (!bar) return;
  const all = videos();
  bar.hidden = !all.length;
  for (const video of all) {
    const isBroken = video.error || (video.readyState > 0 && !isPlayable(video));
    video.closest(".screen").classList.toggle("broken", Boolean(isBroken));
    video.muted = letter(video) !== heard;
  }
  const none = !clips().length;
  for (const each of bar.querySelectorAll("button, input")) each.disabled = none;
  bar.classList.toggle("playing", playing);
  control("play").setAttribute("aria-label", playing ? "Pause all clips" : "Play all clips");
  const time = control("seek");
  time.max = duration() || 1;
  time.value = at;
  time.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${duration().toFixed(1)} seconds`);
  time.style.setProperty("--done", `${(100 * at) / (duration() || 1)}%`);
  bar.querySelector(".time").textContent = `${clock(at)} / ${clock(duration())}`;
  control("sound").textContent = heard ? `Sound of ${heard}` : "Muted";
}

function nextSound() {
  const letters = [null, ...clips().map(letter)];
  heard = letters[(letters.indexOf(heard) + 1) % letters.length] ?? null;
}

function cardsChanged() {
  if (!clips().length && playing) pause();
  const keys = [...element.querySelectorAll(".clip")].map((card) => card.dataset.key);
  if (!keys.some((key) => known.has(key))) at = 0;
  known = new Set(keys);
  // A clip that is loading may be the longest.
  if (videos().every(isSettled)) at = Math.min(at, duration());
  if (heard && !clips().map(letter).includes(heard)) heard = null;
  paint();
}

// ---- what is pressed -------------------------------------------------------------------------------------------------

const PRESSED = {
  play: () => (playing ? pause() : play()),
  loop: () => control("loop").setAttribute("aria-pressed", String(!isLooping())),
  sound: nextSound,
};

// One at a time: each is done to what the one before it left, the prompts in the page included.
function ask(what) {
  asked.push(what);
  askNext();
}

function askNext() {
  if (isAsking || !asked.length) return;
  isAsking = true;
  trigger("click", asked.shift());
}

document.addEventListener("compare-drawn", () => {
  isAsking = false;
  askNext();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) ask({ action: button.dataset.action, key: button.closest(".clip").dataset.key });
  else if (event.target.closest("video")) PRESSED.play();
});
document.addEventListener("click", (event) => {
  const pressed = event.target.closest?.("#compare-player button");
  if (pressed) PRESSED[pressed.dataset.control]();
  if (pressed) paint();
  const exported = event.target.closest?.("#compare-exports [data-export]");
  if (exported) EXPORTS[exported.dataset.export](exported.closest(".exports").dataset);
});
document.addEventListener("visibilitychange", () => document.hidden && playing && pause());
document.addEventListener("input", (event) => {
  if (event.target.closest?.("#compare-player [data-control=seek]")) seek(Number(event.target.value));
});

// Events of a video do not bubble, but they can be captured on their way down.
element.addEventListener("loadedmetadata", (event) => (put(event.target), cardsChanged()), true);
element.addEventListener("seeked", (event) => playing || put(event.target), true); // it was dragged on meanwhile
for (const name of ["error", "emptied"]) element.addEventListener(name, cardsChanged, true);
watch("value", cardsChanged);

// ---- exports ---------------------------------------------------------------------------------------------------------

function save(name, url) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
}

function saveText(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  save(name, url);
  URL.revokeObjectURL(url);
}

// Dark ink on white, whatever the page's theme: it can be read in a light and in a dark document.
async function savePicture(name, title) {
  const { data, layout } = document.querySelector("#compare-radar .js-plotly-plot");
  const shown = title.length > 90 ? `${title.slice(0, 88)}…` : title;
  const picture = {
    data,
    layout: {
      ...layout,
      title: { text: shown, font: { size: 15 } },
      paper_bgcolor: "#ffffff",
      font: { ...layout.font, color: "#1f2937" },
      margin: { l: 90, r: 90, t: 90, b: 70 },
    },
  };
  save(name, await Plotly.toImage(picture, { format: "png", width: 900, height: 700, scale: 2 }));
}

const EXPORTS = {
  png: ({ name, title }) => savePicture(`${name}.png`, title),
  csv: ({ name, csv }) => saveText(`${name}.csv`, csv, "text/csv"),
  json: ({ name, json }) => saveText(`${name}.json`, json, "application/json"),
};
