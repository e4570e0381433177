// Plays, pauses and seeks all clips of the Compare tab together, and saves what is shown. Follows together.js in the
// body of a function that Gradio calls once: `element` holds the cards, `trigger` tells the server which of their
// buttons was pressed, `watch` calls back when the cards have changed. The control below the cards is a component of its
// own, so that drawing the cards anew leaves it alone.

let heard = null; // the letter of the clip whose sound is on
let known = new Set(); // the keys of the clips that were here when the cards last changed
const asked = []; // what was pressed on cards and the server does not know yet
let isAsking = false;

const control = (name) => document.querySelector(`#compare-player [data-control=${name}]`);
const videos = () => [...element.querySelectorAll("video")];
const letter = (video) => video.closest(".clip").dataset.letter;
const isLooping = () => control("loop").getAttribute("aria-pressed") === "true";
const isSettled = (video) => Boolean(video.error) || video.readyState > 0;
const isVisible = () => element.getClientRects().length > 0; // not while another tab is open
const player = playTogether({ videos, isVisible, isLooping, changed: paint });

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
  const none = !player.clips().length;
  for (const each of bar.querySelectorAll("button, input")) each.disabled = none;
  bar.classList.toggle("playing", player.playing);
  control("play").setAttribute("aria-label", player.playing ? "Pause all clips" : "Play all clips");
  const time = control("seek");
  const { at } = player;
  const end = player.duration();
  time.max = end || 1;
  time.value = at;
  time.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${end.toFixed(1)} seconds`);
  time.style.setProperty("--done", `${(100 * at) / (end || 1)}%`);
  bar.querySelector(".time").textContent = `${clock(at)} / ${clock(end)}`;
  control("sound").textContent = heard ? `Sound of ${heard}` : "Muted";
}

function nextSound() {
  const letters = [null, ...player.clips().map(letter)];
  heard = letters[(letters.indexOf(heard) + 1) % letters.length] ?? null;
}

function cardsChanged() {
  if (!player.clips().length && player.playing) player.pause();
  const keys = [...element.querySelectorAll(".clip")].map((card) => card.dataset.key);
  if (!keys.some((key) => known.has(key))) player.at = 0;
  known = new Set(keys);
  // A clip that is loading may be the longest.
  if (videos().every(isSettled)) player.at = Math.min(player.at, player.duration());
  if (heard && !player.clips().map(letter).includes(heard)) heard = null;
  paint();
}

// ---- what is pressed -------------------------------------------------------------------------------------------------

const PRESSED = {
  play: () => (player.playing ? player.pause() : player.play()),
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
document.addEventListener("visibilitychange", () => document.hidden && player.playing && player.pause());
document.addEventListener("input", (event) => {
  if (event.target.closest?.("#compare-player [data-control=seek]")) player.seek(Number(event.target.value));
});

// Events of a video do not bubble, but they can be captured on their way down.
element.addEventListener("loadedmetadata", (event) => (player.put(event.target), cardsChanged()), true);
element.addEventListener("seeked", (event) => player.playing || player.put(event.target), true); // it was dragged on meanwhile
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
