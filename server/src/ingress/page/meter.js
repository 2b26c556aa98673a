// How loud a track is: an AnalyserNode and the bars that show it.

/** Silence and full scale, in dBFS. */
const FLOOR_DB = -60;
/** A bar falls by so much of its height each second; it rises at once. */
const FALL_PER_S = 1.6;
/** Screen readers hear a level no more often. */
const TOLD_EVERY_MS = 1_000;

/** Shows one audio track on some bars. */
export class Meter {
  #bars;
  /** @type {MediaStreamAudioSourceNode | undefined} */
  #source;
  #analyser;
  #samples;
  #level = 0;
  #drawnMs = 0;
  #toldMs = 0;

  /** @param {AudioContext} context @param {Element[]} bars */
  constructor(context, bars) {
    this.#bars = bars;
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
  }

  /** @param {MediaStreamTrack} track */
  listen(track) {
    this.#source?.disconnect();
    this.#source = /** @type {AudioContext} */ (this.#analyser.context).createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  /** To be called at each frame. @param {number} nowMs */
  draw(nowMs) {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    const db = 10 * Math.log10(power + 1e-12);
    const now = Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
    const fallen = this.#level - (FALL_PER_S * Math.max(0, nowMs - this.#drawnMs)) / 1000;
    this.#level = Math.max(now, fallen);
    this.#drawnMs = nowMs;
    const tell = nowMs - this.#toldMs >= TOLD_EVERY_MS;
    if (tell) this.#toldMs = nowMs;
    for (const bar of this.#bars) show(bar, this.#level, tell);
  }

  /** Silence, and nothing is listened to any more. */
  stop() {
    this.#source?.disconnect();
    for (const bar of this.#bars) show(bar, 0, true);
  }
}

/** @param {Element} bar @param {number} level 0 to 1 @param {boolean} tell */
function show(bar, level, tell) {
  /** @type {HTMLElement} */ (bar).style.setProperty("--level", level.toFixed(3));
  if (tell) bar.setAttribute("aria-valuenow", String(Math.round(level * 100)));
}
