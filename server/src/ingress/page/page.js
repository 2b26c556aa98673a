// Draws the softphone: one button to call, mute, hold and digits while the call lasts, and what the gateway says.
import { Softphone } from "./softphone.js";

const element = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.hash.slice(1));
element("tenant").value = parameters.get("tenant") ?? "";
element("token").value = parameters.get("token") ?? "";

/** @type {Softphone | undefined} */
let phone;

element("call").addEventListener("click", async () => {
  if (phone && phone.state !== "ended") {
    phone.state === "calling" || phone.state === "in call" || phone.state === "on hold" ? phone.hangUp() : phone.close();
    return;
  }
  element("log").replaceChildren();
  element("mute").checked = false;
  phone = new Softphone({
    url: location.origin.replace(/^http/, "ws"),
    tenantId: element("tenant").value.trim(),
    token: element("token").value.trim(),
  });
  phone.addEventListener("state", ({ detail }) => show(detail));
  phone.addEventListener("message", ({ detail }) => log(detail));
  phone.addEventListener("track", ({ detail }) => {
    element("audio").srcObject = detail;
    meter(detail, element("heard"));
  });
  try {
    await phone.connect();
    meter(phone.microphone, element("spoken"));
    phone.dial({ to: element("to").value.trim() });
  } catch (error) {
    log({ type: "error", message: error.message });
    phone.close();
    show("ended");
  }
});

element("mute").addEventListener("change", ({ target }) => phone?.mute(target.checked));
element("hold").addEventListener("change", ({ target }) => phone?.hold(target.checked));
for (const digit of "123456789*0#") {
  const key = document.createElement("button");
  key.textContent = digit;
  key.addEventListener("click", () => phone?.press(digit));
  element("keypad").append(key);
}

function show(state) {
  element("state").textContent = state;
  document.body.dataset.state = state;
  const live = ["connecting", "ready", "calling", "in call", "on hold"].includes(state);
  element("call").textContent = live ? "Hang up" : "Call";
  element("controls").disabled = !["in call", "on hold"].includes(state);
  element("hold").checked = state === "on hold";
}

function log(message) {
  if (["session", "answer", "stats"].includes(message.type) || message.code === 1000) return;
  const names = { 1: "CHANNEL_CREATE", 2: "CHANNEL_ANSWER", 3: "CHANNEL_HANGUP_COMPLETE", 4: "CHANNEL_HOLD", 5: "CHANNEL_RESUME" };
  const event = message.event ?? message;
  const line = document.createElement("li");
  line.textContent = names[event.event_type]
    ? `${names[event.event_type]} ${event.status}${event.q850_cause ? ` (cause ${event.q850_cause})` : ""}`
    : `${message.type} ${message.message ?? message.reason ?? message.digit ?? ""}`;
  element("log").prepend(line);
}

/** Shows how loud a stream is, 0 to 1. */
function meter(stream, bar) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const draw = () => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    bar.value = Math.min(1, Math.sqrt(power) * 4);
    if (phone?.state === "ended") context.close();
    else requestAnimationFrame(draw);
  };
  draw();
}

show("idle");
