// Plays several videos as one. Stands before the code of the Compare and of the Rate tab, which Gradio calls as the body
// of one function.

const SEEK_APART = 0.25; // seconds: videos farther apart are put together by a jump, closer ones by their speed
const IN_STEP = 1 / 60; // seconds: half a frame of most videos
const AT_END = 0.05; // seconds

const isPlayable = (video) =>
  !video.error && video.readyState > 0 && video.videoWidth > 0 && Number.isFinite(video.duration);

// `videos()` are those that are there now, `isVisible()` says whether they can be seen, `isLooping()` whether they begin
// again at the end, and `changed()` is called whenever they have moved on.
function playTogether({ videos, isVisible, isLooping, changed }) {
  let playing = false;
  let frame = 0; // the next call of keepTogether: there is one at most
  let at = 0; // seconds: where all videos are, or where they ended

  const clips = () => videos().filter(isPlayable);
  const longest = () => clips().reduce((best, video) => (best && best.duration >= video.duration ? best : video), null);
  const duration = () => longest()?.duration ?? 0;
  const isWaiting = (video) => video.seeking || (video.readyState < 3 && video.currentTime < video.duration - 0.1);
  const isPast = (video) => at >= video.duration - AT_END && video !== longest();

  function put(video) {
    const target = Math.min(at, video.duration);
    if (!video.seeking && Math.abs(video.currentTime - target) > 1e-3) video.currentTime = target;
  }

  function seek(seconds) {
    at = Math.min(Math.max(seconds, 0), duration());
    clips().forEach(put);
    changed();
  }

  function play() {
    if (!clips().length) return;
    if (at >= duration() - AT_END) seek(0);
    playing = true;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(keepTogether);
    changed();
  }

  function pause() {
    playing = false;
    for (const video of clips()) {
      video.pause();
      video.playbackRate = 1;
      put(video);
    }
    changed();
  }

  function resume(video) {
    // Refused where the browser wants a click first, or where the video is gone: the next frame asks again, or nobody.
    if (video.paused) video.play().catch(() => {});
  }

  function end() {
    if (isLooping()) return seek(0);
    at = duration();
    pause();
  }

  // Once a frame: the longest video is the clock; the others follow it, and all wait for one that has nothing to show.
  function keepTogether() {
    if (!playing) return;
    if (!isVisible()) return pause();
    const clock = longest();
    if (!clock) return pause();
    if (!clock.seeking) at = clock.currentTime;
    if (clock.ended) end();
    if (!playing) return; // to play a video that has ended would begin it again
    const going = clips().filter((video) => !isPast(video));
    const waiting = going.some(isWaiting);
    for (const video of clips()) {
      if (!going.includes(video)) stopAtEnd(video);
      else if (waiting && !isWaiting(video)) video.pause();
      else resume(video);
      if (!waiting && going.includes(video)) keepInStep(video);
    }
    changed();
    frame = requestAnimationFrame(keepTogether);
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

  return {
    clips,
    duration,
    put,
    seek,
    play,
    pause,
    get playing() {
      return playing;
    },
    get at() {
      return at;
    },
    // Where the videos are, without moving them: of others that take their place, or once one was found shorter.
    set at(seconds) {
      at = seconds;
    },
  };
}
