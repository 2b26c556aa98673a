// The softphone: draws what the SDK tells, and tells the SDK what was pressed. One session at a time, one call in it.

import { CallError, connect } from "/sdk/index.js";
import { Meter } from "./meter.js";
import { CALL_STATES, LINE_STATES, blame, causeInWords, duration, eventInWords, grade } from "./words.js";

/** @typedef {import("/sdk/index.js").Call} Call */
/** @typedef {import("/sdk/index.js").Session} Session */
/** @typedef {import("/sdk/index.js").Closed} Closed */
/** @typedef {import("/sdk/index.js").CallEnd} CallEnd */
/** @typedef {import("/sdk/index.js").StatsMessage} StatsMessage */
/** @typedef {import("/sdk/index.js").StatsSummary} StatsSummary */

/** How often figures are read. */
const STATS_EVERY_MS = 1_000;
/** How often level meters are drawn: more would cost a small phone its audio. */
const METERS_EVERY_MS = 45;
/** How often clocks are drawn. */
const CLOCK_EVERY_MS = 250;
/** The most lines in the list of events. */
const EVENTS_MAX = 200;
const KEYS = ["1", "2 ABC", "3 DEF", "4 GHI", "5 JKL", "6 MNO", "7 PQRS", "8 TUV", "9 WXYZ", "*", "0 +", "#"];
/** What each view shows first to who comes by keyboard. @type {Readonly<Record<string, string>>} */
const FOCUS = { offline: "connect", ready: "to", dialling: "hang-up", incoming: "answer", ended: "again" };

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (found);
}

/** @param {string} id @returns {HTMLInputElement} */
const field = (id) => element(id);
/** @param {string} id @param {string} text */
const write = (id, text) => {
  // Writing the same again would be told again by screen readers.
  if (element(id).textContent !== text) element(id).textContent = text;
};
/** @param {string} id @param {boolean} shown */
const reveal = (id, shown) => {
  element(id).hidden = !shown;
};

/** @type {Session | undefined} */
let session;
/** @type {Call | undefined} */
let call;
let connecting = false;
/** How the last call ended, until another is wanted. @type {CallEnd | undefined} */
let ended;
let answeredAtMs = 0;
let endedAfterMs = 0;
let shownView = "";
/** @type {AudioContext | undefined} */
let sound;
/** @type {{ spoken: Meter, heard: Meter } | undefined} */
let meters;

// Address: #tenant=…&token=…&to=…&trunk=…; it leaves the bar at once, for a token is a secret.

function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const name of ["tenant", "token", "to", "trunk"]) {
    const value = parameters.get(name);
    if (value !== null) field(name).value = value;
  }
  if (parameters.has("token")) {
    history.replaceState(null, "", location.pathname);
    if (!session) again();
  }
}

// Connecting

element("sign-in").addEventListener("submit", (submit) => {
  submit.preventDefault();
  open();
});

async function open() {
  if (session || connecting) return;
  connecting = true;
  hideError();
  show();
  const processing = field("processing").checked;
  try {
    // Made in the click: browsers keep sound back from pages that were not touched.
    sound ??= new AudioContext();
    sound.resume();
    follow(
      await connect({
        url: location.origin.replace(/^http/, "ws"),
        tenantId: field("tenant").value.trim(),
        token: field("token").value.trim(),
        media: "webrtc",
        audio: { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing },
      }),
    );
    log("line", "Connected", "The audio path is negotiated");
  } catch (error) {
    showError(error);
    log("failure", "Not connected", error instanceof CallError ? `${error.message} (${error.code})` : String(error));
  }
  // Good for one connection, also for one that failed after the gateway saw it.
  field("token").value = "";
  connecting = false;
  show();
}

/** @param {Session} opened */
function follow(opened) {
  session = opened;
  call = undefined;
  ended = undefined;
  opened.addEventListener("line", ({ detail: state }) => {
    if (state === "reconnecting") log("lost", "Connection lost", "The call goes on while the page reconnects");
    if (state === "connected") log("line", "Reconnected", "The session was resumed");
    show();
  });
  opened.addEventListener("incoming", ({ detail }) => {
    log("call", "Incoming call", `from ${detail.from || "somebody"} to ${detail.to}`);
    take(detail);
  });
  opened.addEventListener("track", ({ detail: track }) => hear(track));
  opened.addEventListener("error", ({ detail: error }) => {
    log("failure", "Error", `${error.message} (${error.code})`);
    // Another server, or none, may do as well.
    if (error.code !== "ice_server") showError(error);
  });
  opened.addEventListener("closed", ({ detail: end }) => closed(end));
  startMeters(opened);
}

/** @param {Closed} end */
function closed(end) {
  session = undefined;
  meters?.spoken.stop();
  meters?.heard.stop();
  meters = undefined;
  audio().srcObject = null;
  if (!call) {
    log(end.error ? "failure" : "line", "Disconnected", end.reason || end.error?.message || "by you");
    if (end.error) showError(end.error);
  }
  show();
}

// The call

element("dial-form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  if (!session || call) return;
  hideError();
  const options = { trunkId: field("trunk").value.trim() || undefined, callFrom: field("call-from").value.trim() || undefined };
  try {
    take(session.dial(field("to").value.trim(), options));
  } catch (error) {
    showError(error);
  }
});

/** @param {Call} taken */
function take(taken) {
  call = taken;
  answeredAtMs = 0;
  element("pressed").textContent = "";
  openKeypad(false);
  for (const event of taken.events) log("call", ...eventInWords(event));
  taken.addEventListener("state", ({ detail: state }) => {
    if (state === "active" && answeredAtMs === 0) answeredAtMs = performance.now();
    show();
  });
  taken.addEventListener("event", ({ detail: event }) => log("call", ...eventInWords(event)));
  taken.addEventListener("digit", ({ detail }) => log("call", `Digit ${detail.digit}`, `from the far end, ${detail.durationMs} ms`));
  taken.addEventListener("stats", ({ detail }) => showMos(detail));
  taken.addEventListener("ended", ({ detail: end }) => {
    ended = end;
    endedAfterMs = answeredAtMs > 0 ? performance.now() - answeredAtMs : 0;
    if (end.error) showError(end.error);
    show();
  });
  show();
}

element("answer").addEventListener("click", () => call?.answer());
element("reject").addEventListener("click", () => call?.reject());
element("hang-up").addEventListener("click", () => {
  call?.hangUp();
  if (session?.line === "reconnecting") log("line", "Hanging up", "The gateway hears it when the page is back");
});
element("mute").addEventListener("click", () => {
  call?.mute(!call.muted);
  show();
});
element("hold").addEventListener("click", () => call?.hold(call.state !== "held"));
element("keypad-toggle").addEventListener("click", () => openKeypad(element("keypad").hidden));
element("disconnect").addEventListener("click", () => session?.close());
element("again").addEventListener("click", again);
element("error-close").addEventListener("click", hideError);

function again() {
  call = undefined;
  ended = undefined;
  hideError();
  show();
}

for (const key of KEYS) {
  const [digit = "", letters = ""] = key.split(" ");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.digit = digit;
  button.setAttribute("aria-label", { "*": "star", "#": "hash" }[digit] ?? digit);
  const small = document.createElement("small");
  small.textContent = letters;
  button.append(digit, small);
  button.addEventListener("click", () => press(digit));
  element("keys").append(button);
}

addEventListener("keydown", (key) => {
  const typing = key.target instanceof HTMLInputElement;
  if (typing || key.ctrlKey || key.altKey || key.metaKey || !/^[0-9*#]$/.test(key.key)) return;
  if (call?.state !== "active") return;
  openKeypad(true);
  press(key.key);
});

/** @param {string} digit */
function press(digit) {
  if (call?.state !== "active") return;
  call.sendDigits(digit);
  element("pressed").textContent += digit;
}

/** @param {boolean} open */
function openKeypad(open) {
  reveal("keypad", open);
  document.body.dataset.keypad = open ? "open" : "closed";
  element("keypad-toggle").setAttribute("aria-expanded", String(open));
}

// Sound

function audio() {
  return /** @type {HTMLAudioElement} */ (element("audio"));
}

/** @param {MediaStreamTrack} track */
function hear(track) {
  audio().srcObject = new MediaStream([track]);
  audio().play().catch(() => {}); // A renegotiation interrupts it; the next track plays again.
  meters?.heard.listen(track);
}

/** @param {Session} opened */
function startMeters(opened) {
  if (!sound) return;
  const running = {
    spoken: new Meter(sound, [element("spoken"), element("spoken-idle")]),
    heard: new Meter(sound, [element("heard")]),
  };
  meters = running;
  const [microphone] = opened.microphone?.getAudioTracks() ?? [];
  if (microphone) running.spoken.listen(microphone);
  if (opened.remoteTrack) hear(opened.remoteTrack);
  let drawnMs = 0;
  const draw = (/** @type {number} */ nowMs) => {
    if (meters !== running) return;
    if (nowMs - drawnMs >= METERS_EVERY_MS) {
      drawnMs = nowMs;
      running.spoken.draw(nowMs);
      running.heard.draw(nowMs);
    }
    requestAnimationFrame(draw);
  };
  requestAnimationFrame(draw);
}

// Figures

/** @type {StatsMessage | undefined} */
let gatewayStats;

setInterval(async () => {
  const opened = session;
  if (!opened) return;
  // Between two lines the connection may close under it: then there are no figures.
  const stats = await opened.getStats().catch(() => undefined);
  if (stats && session === opened) showStats(stats);
}, STATS_EVERY_MS);

/** @param {StatsSummary} stats */
function showStats(stats) {
  const figure = (/** @type {number | undefined} */ value, /** @type {string} */ unit, decimals = 0) =>
    value === undefined ? "–" : `${value.toFixed(decimals)}${unit}`;
  const { codec, outboundCodec } = stats;
  const [name = "–", ...rate] = (codec ?? outboundCodec ?? "–").split(" ");
  stat("codec", name, codec && outboundCodec && codec !== outboundCodec ? `out: ${outboundCodec}` : rate.join(" "));
  stat("rtt", figure(stats.rttMs, " ms"));
  stat("jitter", figure(stats.jitterMs, " ms", 1));
  stat("loss", `${figure(stats.lossPercent, "", 1)} / ${figure(stats.outboundLossPercent, " %", 1)}`);
  stat("bitrate", `${figure(stats.inboundKbps, "")} / ${figure(stats.outboundKbps, "")}`, "kb/s");
  stat("encryption", stats.dtlsVersion ? `DTLS ${stats.dtlsVersion}` : "–", stats.srtpCipher?.replace(/^SRTP_/, "").replaceAll("_", " "));
  stat("path", stats.candidateType ? `${stats.candidateType} · ${stats.protocol ?? ""}` : "–");
}

/** @param {StatsMessage} stats */
function showMos(stats) {
  gatewayStats = stats;
  stat("mos", `${stats.caller.mos.toFixed(1)} / ${stats.far_end.mos.toFixed(1)}`);
  show();
}

/** @param {string} name @param {string} text @param {string} [more] */
function stat(name, text, more = "") {
  const cell = document.querySelector(`[data-stat="${name}"]`);
  if (!cell) return;
  const small = document.createElement("small");
  small.textContent = more;
  cell.replaceChildren(text, ...(more ? [small] : []));
}

// Drawing

/** @returns {string} */
function view() {
  if (call) return call.state;
  if (connecting) return "connecting";
  return session ? "ready" : "offline";
}

function show() {
  const now = view();
  const line = connecting ? "connecting" : (session?.line ?? "closed");
  document.body.dataset.view = now;
  document.body.dataset.line = line;
  write("line-text", LINE_STATES[line]);
  reveal("sign-in", now === "offline" || now === "connecting");
  reveal("dial-form", now === "ready");
  reveal("call-view", call !== undefined && now !== "ended");
  reveal("ended-view", now === "ended");
  const connectButton = /** @type {HTMLButtonElement} */ (element("connect"));
  connectButton.disabled = connecting;
  connectButton.textContent = connecting ? "Connecting…" : "Connect";
  if (call) showCall(call);
  showQuality();
  showNotice();
  document.title = now === "incoming" ? `Incoming call: ${call?.from}` : "ClutchCall softphone";
  if (now !== shownView) {
    shownView = now;
    const first = FOCUS[now];
    // A field would bring up the keyboard of a phone.
    const wanted = first !== undefined && (first !== "to" || matchMedia("(hover: hover)").matches);
    if (wanted) element(first).focus({ preventScroll: true });
  }
}

/** @param {Call} shown */
function showCall(shown) {
  const party = (shown.direction === "inbound" ? shown.from : shown.to) || "Unknown";
  write("party", party);
  const incoming = shown.state === "incoming";
  const initial = /\p{L}/u.exec(party)?.[0]?.toUpperCase() ?? "";
  write("initial", initial);
  element("no-initial").toggleAttribute("hidden", initial !== "");
  write("state", incoming && shown.to ? `${CALL_STATES.incoming} for ${shown.to}` : CALL_STATES[shown.state]);
  const live = shown.state === "active" || shown.state === "held";
  reveal("choice", incoming);
  reveal("hang-up", !incoming);
  reveal("controls", live);
  reveal("meters", live);
  if (!live) openKeypad(false);
  element("mute").setAttribute("aria-pressed", String(shown.muted));
  write("spoken-label", shown.muted ? "Muted" : "You");
  element("hold").setAttribute("aria-pressed", String(shown.state === "held"));
  for (const key of element("keys").querySelectorAll("button")) key.disabled = shown.state !== "active";
  if (shown.state !== "ended") return;
  write("ended-title", "Call ended");
  const reason = ended?.error ? "" : (causeInWords(ended?.cause) ?? ended?.reason ?? "");
  const lasted = endedAfterMs > 0 ? `after ${duration(endedAfterMs)}` : "not answered";
  write("ended-reason", [reason, lasted].filter(Boolean).join(" · "));
}

function showQuality() {
  const live = call?.state === "active" || call?.state === "held";
  const mos = gatewayStats && live ? Math.min(gatewayStats.caller.mos, gatewayStats.far_end.mos) : undefined;
  if (!live) gatewayStats = undefined;
  const [kind, words] = mos === undefined ? ["none", live ? "Measuring…" : "No call"] : grade(mos);
  element("quality").dataset.grade = kind;
  write("quality-text", words);
}

function showNotice() {
  const lost = session?.line === "reconnecting";
  reveal("notice", lost);
  write("notice-text", lost ? "Connection lost. Reconnecting…" : "");
}

setInterval(() => {
  const live = call && answeredAtMs > 0 && call.state !== "ended";
  element("timer").textContent = live ? duration(performance.now() - answeredAtMs) : "";
  if (session?.line === "reconnecting") {
    const left = Math.ceil(session.reconnectLeftMs / 1000);
    element("notice-left").textContent = `${call ? "The call goes on. " : ""}${left} s left`;
  }
}, CLOCK_EVERY_MS);

/** @param {unknown} error */
function showError(error) {
  const { message, fault } = error instanceof CallError ? error : new CallError("page", String(error), "us");
  element("error-text").textContent = `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
  element("error-fault").textContent = blame(fault);
  reveal("error", true);
}

function hideError() {
  reveal("error", false);
}

/** @param {"call" | "line" | "lost" | "failure"} kind @param {string} words @param {string} details */
function log(kind, words, details) {
  const item = document.createElement("li");
  item.dataset.kind = kind;
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour12: false });
  const what = document.createElement("div");
  const title = document.createElement("strong");
  title.textContent = words;
  const more = document.createElement("span");
  more.textContent = details;
  what.append(title, document.createElement("br"), more);
  item.append(time, what);
  const list = element("events");
  list.prepend(item);
  while (list.children.length > EVENTS_MAX) list.lastElementChild?.remove();
}

addEventListener("hashchange", readAddress);
readAddress();
show();
