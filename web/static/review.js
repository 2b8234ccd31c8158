// The review page: a clip as the server tells it, and every key and button that makes a patch of it.
// Each patch is on the server's record before the page shows it, so there is nothing to save.

import { get, make, post } from "./common.js";
import { Stage, drawCurves } from "./stage.js";
import { Tools } from "./tools.js";

const root = document.getElementById("review"), name = root.dataset.clip, mayWrite = root.dataset.role !== "reader";
const following = `/next?after=${name}&${location.search.slice(1)}`;  // among what the queue was filtered for
const by = (id) => document.getElementById(id);
const video = by("video"), why = by("why");
const small = new Image(), deciding = new Set();
let clip = null, zoom = 1, waiting = null, watch = 0, escapes = 0, turn = Promise.resolve(true), refused = 0;

const stage = new Stage(video, by("overlay"), (frame) => {
  by("seek").value = frame;
  by("frame").textContent = `${frame} of ${clip.frames - 1}`;
  drawCurves(by("curves"), clip, chosen(), frame);
  for (const cell of by("strip").children) cell.setAttribute("aria-current", +cell.dataset.frame === frame);
});
const tools = new Tools(stage, by("zoomed"), (id, frame, counts) =>
  send({ op: "paint", id, frame, masks: [counts], by_hand: true }));
const chosen = () => clip.tracks.find((t) => t.id === stage.chosen);

function tell(words, problem = false) {
  by("status").textContent = words;
  by("status").className = problem ? "problem" : "";
}

/** Puts an operation on record, after those before it: each says what it has seen of the clip. Resolves to whether it
 *  went; where one is refused, those that were waiting behind it are not sent, since they meant another clip. */
function send(op) {
  const refusals = refused;
  turn = turn.then(() => refusals === refused && put(op));
  return turn;
}
async function put(op) {
  try {
    take(await post(`/api/clip/${name}/patch`, { seen: clip.seq, op }));
    tell("");
    return true;
  } catch (error) {
    refused++;
    tell(error.message, true);
    return false;
  }
}

function take(found) {
  clip = found;
  if (!clip.tracks.some((t) => t.id === stage.chosen)) stage.chosen = clip.tracks[0].id;
  by("seek").max = clip.frames - 1;
  fit();
  stage.show(clip);
  by("caption").replaceChildren(...clip.caption.map(({ text, role, id }) => {
    if (!role) return text;
    const piece = make("span", { className: role === "verb" ? "verb" : "role", title: id ? `${role} ${id}` : role }, text);
    const track = clip.tracks.find((t) => t.id === id);
    if (track) piece.style.borderColor = track.colour;
    return piece;
  }));
  by("acts").replaceChildren(...clip.acts.map(actRow));
  by("tracks").replaceChildren(...clip.tracks.map(trackRow));
  drawStrip();
  drawCurves(by("curves"), clip, chosen(), stage.frame);
  for (const action of ["undo", "redo"]) document.querySelector(`[data-action=${action}]`).disabled = !clip[action];
}

function actRow(act) {
  const noun = (id) => clip.tracks.find((t) => t.id === id)?.noun ?? "";
  const words = `${act.subject} ${noun(act.subject)} · ${act.verb} · ${act.object} ${noun(act.object)} `;
  const row = make("li", { title: act.explanation }, words,
    make("span", { className: "rating" }, `contact ${act.contact}, dynamism ${act.dynamism}, sure ${act.confidence} `));
  if (mayWrite) row.append(make("button", { type: "button", onclick: () => row.replaceWith(actForm(act)) }, "Edit"));
  return row;
}

function actForm(act) {
  const choose = (values, value, label) => make("select", { "aria-label": label },
    ...values.map((v) => make("option", { value: v, selected: v === value }, String(v))));
  const ids = clip.tracks.map((t) => t.id), five = [1, 2, 3, 4, 5];
  const subject = choose(ids, act.subject, "subject"), object = choose(ids, act.object, "object");
  const contact = choose(five, act.contact, "contact"), dynamism = choose(five, act.dynamism, "dynamism");
  const verb = make("input", { value: act.verb, maxLength: 120, "aria-label": "verb" });
  const keep = (more) => send({ op: "act", text: act.text, ...more });
  return make("li", {}, subject, verb, object, contact, dynamism,
    make("button", { type: "button", onclick: () => keep({ subject: subject.value, verb: verb.value, object: object.value, contact: +contact.value, dynamism: +dynamism.value }) }, "Keep"),
    make("button", { type: "button", onclick: () => keep({ remove: true }) }, "Take out"),
    make("button", { type: "button", onclick: () => take(clip) }, "Leave"));
}

/** Numbers of a track that is not the chosen one: a line, so that five fit the window. */
const SHORT = 5;

function trackRow(track, index) {
  const on = track.id === stage.chosen;
  const swatch = make("span", { className: "swatch" });
  swatch.style.background = track.colour;
  const row = make("div", { className: "track", role: "option", tabIndex: 0, "aria-selected": String(on), "aria-label": `${track.id} ${track.noun}, ${track.decision ?? "no decision"}`, onclick: () => choose(track.id) },
    make("div", { className: "head" }, swatch, make("strong", {}, `${index + 1} · ${track.id}`), `${track.noun}`,
      make("span", { className: "said" }, [track.decision ?? "", track.reason.replace("_", " "), track.mended ? "mended" : ""].filter(Boolean).join(" · "))),
    make("div", { className: "numbers", title: track.rationale }, track.numbers.slice(0, on ? undefined : SHORT).join(", ")));
  if (on && mayWrite)
    row.append(...["accept", "fix", "drop"].map((end) => make("button", { type: "button", "aria-pressed": String(track.decision === end), onclick: (e) => { e.stopPropagation(); actions[end](); } }, end[0].toUpperCase() + end.slice(1))));
  return row;
}

function choose(id) {
  stage.chosen = id;
  take(clip);
}

function drawStrip() {
  by("strip").replaceChildren(...clip.shown.map((frame, k) => {
    const wide = small.naturalWidth / clip.shown.length || 176, high = small.naturalHeight || 117;
    const canvas = make("canvas", { width: wide, height: high, ariaHidden: "true" }), pen = canvas.getContext("2d");
    if (small.naturalWidth) pen.drawImage(small, k * wide, 0, wide, high, 0, 0, wide, high);
    stage.drawOn(pen, frame, wide / clip.width);
    return make("button", { type: "button", "aria-label": `frame ${frame}`, "aria-current": String(frame === stage.frame), onclick: () => stage.seek(frame), "data-frame": frame }, canvas, make("span", {}, String(frame)));
  }));
}

/** Ask for a reason, by key or click; then go on. */
function ask(then) {
  waiting = then;
  why.showModal();
}
why.addEventListener("cancel", () => { waiting = null; });
for (const button of by("reasons").querySelectorAll("button"))
  button.addEventListener("click", () => { why.close(); waiting?.(button.dataset.reason); waiting = null; });

/** At the press, so that the next key is of the next track; a refusal shows the clip as it is. */
async function decide(decision, reason = "") {
  const id = stage.chosen;
  deciding.add(id);
  const open = clip.tracks.find((t) => !t.decision && !deciding.has(t.id));
  if (open && decision !== "fix") choose(open.id);
  await send({ op: "decide", id, decision, reason });
  deciding.delete(id);
}

/** Ask for another track, by its digit; then go on, with the track and the frame that it was asked of. */
function other(does) {
  stage.hold();
  const { chosen, frame } = stage, then = (id) => does(chosen, id, frame);
  const others = clip.tracks.filter((t) => t.id !== chosen);
  if (others.length === 1) return then(others[0].id);
  tell(`with which? press ${clip.tracks.map((t, n) => `${n + 1} for ${t.id}`).join(", ")}`);
  waiting = (digit) => { const found = clip.tracks[digit - 1]; if (found && found.id !== chosen) then(found.id); };
  return null;
}

function layer(key) {
  stage.layers[key] = !stage.layers[key];
  by(`show-${key}`).checked = stage.layers[key];
  redraw();
}
function redraw() { stage.draw(); drawStrip(); }
function faint(step) {
  stage.layers.opacity = Math.max(0, Math.min(1, stage.layers.opacity + step));
  by("opacity").value = 100 * stage.layers.opacity;
  redraw();
}
/** The clip fills the stage, whichever side is the longer; zoomed, the stage scrolls. */
function fit() {
  by("zoomed").style.width = `${zoom * Math.min(720, (420 * clip.width) / clip.height)}px`;
}
function magnify(factor) {
  zoom = Math.max(1, Math.min(6, zoom * factor));
  fit();
}
function step(by_) {
  const at = clip.tracks.findIndex((t) => t.id === stage.chosen);
  choose(clip.tracks[(at + by_ + clip.tracks.length) % clip.tracks.length].id);
}

async function propagate() {
  stage.hold();
  const before = escapes, from = { id: stage.chosen, frame: stage.frame };
  await turn;  // a stroke that is on its way is what it goes on from
  if (before !== escapes) return;
  try {
    const { until } = await post(`/api/clip/${name}/propagate`, from);
    if (before !== escapes) { await letGo(); return; }  // Escape came first, and may have found nothing to end
    tell(`tracking on until frame ${until - 1}; Escape lets go`);
    const mine = ++watch;
    while (mine === watch) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      const found = await get(`/api/clip/${name}/propagate`);
      if (mine !== watch) return;
      if (found.state === "done") { await send({ op: "paint", id: found.id, frame: found.frame, masks: found.masks, by_hand: false }); return; }
      if (found.state !== "running") { tell(found.why ?? "let go", true); return; }
    }
  } catch (error) { tell(error.message, true); }
}

async function letGo() {
  await post(`/api/clip/${name}/cancel`);
  tell("let go");
}

const actions = {
  play: () => stage.toggle(), back: () => stage.seek(stage.frame - 1), forth: () => stage.seek(stage.frame + 1),
  first: () => stage.seek(0), last: () => stage.seek(clip.frames - 1), nextTrack: () => step(1), lastTrack: () => step(-1),
  accept: () => decide("accept"), fix: () => ask((reason) => decide("fix", reason)), drop: () => ask((reason) => decide("drop", reason)),
  acceptAll: () => { for (const t of clip.tracks.filter((t) => !t.decision)) send({ op: "decide", id: t.id, decision: "accept" }); },
  finish: async () => { if (await send({ op: "finish" })) location.assign(following); },
  skip: async () => { await turn; await post(`/api/clip/${name}/release`); location.assign(following); },
  undo: () => send({ op: "undo" }), redo: () => send({ op: "redo" }),
  masks: () => layer("masks"), boxes: () => layer("boxes"), union: () => layer("union"), names: () => layer("names"),
  fainter: () => faint(-0.1), stronger: () => faint(0.1), zoomIn: () => magnify(1.25), zoomOut: () => magnify(0.8),
  brush: () => tools.take("brush"), eraser: () => tools.take("eraser"), polygon: () => tools.take("polygon"), box: () => tools.take("box"),
  propagate, cancel: async () => { waiting = null; if (tools.name) tools.take(tools.name); watch++; escapes++; await letGo(); },
  swap: () => other((id, second, frame) => send({ op: "swap", id, other: second, frame })),
  cut: () => { stage.hold(); send({ op: "give", id: stage.chosen, to: null, frame: stage.frame }); },
  merge: () => other((id, to, frame) => send({ op: "give", id, to, frame })),
};
const READING = new Set(["play", "back", "forth", "first", "last", "nextTrack", "lastTrack", "masks", "boxes", "union", "names", "fainter", "stronger", "zoomIn", "zoomOut"]);
const keys = new Map([...document.querySelectorAll("[data-key]")].map((e) => [e.dataset.key, e.dataset.does]));
const run = (action) => { if (clip && (mayWrite || READING.has(action))) actions[action](); };

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.altKey || event.metaKey || (event.ctrlKey && key !== "z" && key !== "y")) return;
  if (event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea")) return;
  if (/^[1-9]$/.test(key)) {
    if (why.open) by("reasons").querySelectorAll("button")[key - 1]?.click();
    else if (waiting) { const then = waiting; waiting = null; tell(""); then(+key); }
    else if (clip?.tracks[key - 1]) choose(clip.tracks[key - 1].id);
    return;
  }
  if (why.open || !keys.has(key) || (event.target.matches("button, summary") && (key === " " || key === "enter"))) return;
  event.preventDefault();
  run(keys.get(key));
});
for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", () => run(button.dataset.action));
for (const key of ["masks", "boxes", "union", "names"]) by(`show-${key}`).addEventListener("change", (e) => { stage.layers[key] = e.target.checked; redraw(); });
by("opacity").addEventListener("input", (e) => { stage.layers.opacity = e.target.value / 100; redraw(); });
by("seek").addEventListener("input", (e) => stage.seek(+e.target.value));
small.addEventListener("load", () => clip && drawStrip());

try {
  if (mayWrite) await post(`/api/clip/${name}/claim`).catch((error) => tell(error.message, true));
  take(await get(`/api/clip/${name}`));
  if (clip.lapsed.length) tell(`said before of a track that has changed: ${clip.lapsed.join(", ")}`);
  small.src = `/strip/${name}.jpg`;
  stage.seek(clip.shown[0]);
} catch (error) { tell(error.message, true); }
document.body.dataset.ready = "yes";
