// A sample of a finished dataset, to look at: the stage of the review page without its tools.

import { get, make } from "./common.js";
import { Stage, drawCurves } from "./stage.js";

const by = (id) => document.getElementById(id);
let clip = null;
const chosen = () => clip.tracks.find((t) => t.id === stage.chosen);
const stage = new Stage(by("video"), by("overlay"), (frame) => {
  by("seek").value = frame;
  by("frame").textContent = `${frame} of ${clip.frames - 1}`;
  drawCurves(by("curves"), clip, chosen(), frame);
});

function choose(id) {
  stage.chosen = id;
  by("tracks").replaceChildren(...clip.tracks.map((track) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = track.colour;
    return make("button", { type: "button", className: "track", "aria-pressed": String(track.id === id), onclick: () => choose(track.id) },
      swatch, ` ${track.id} ${track.noun} `, make("span", { className: "said" }, track.review), make("span", { className: "numbers" }, track.numbers.join(", ")));
  }));
  stage.draw();
  drawCurves(by("curves"), clip, chosen(), stage.frame);
}

for (const box of document.querySelectorAll("[data-layer]"))
  box.addEventListener("change", () => { stage.layers[box.dataset.layer] = box.checked; stage.draw(); });
by("play").addEventListener("click", () => stage.toggle());
by("seek").addEventListener("input", (e) => stage.seek(+e.target.value));
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && !event.target.matches("input")) stage.seek(stage.frame + step);
});

try {
  clip = await get(by("review").dataset.api);
  by("seek").max = clip.frames - 1;
  by("zoomed").style.width = `${Math.min(720, (420 * clip.width) / clip.height)}px`;
  by("caption").replaceChildren(...clip.caption.map(({ text, role, id }) => {
    if (!role) return text;
    const piece = make("span", { className: role === "verb" ? "verb" : "role", title: id ? `${role} ${id}` : role }, text);
    const track = clip.tracks.find((t) => t.id === id);
    if (track) piece.style.borderColor = track.colour;
    return piece;
  }));
  by("acts").replaceChildren(...clip.acts.map((act) => make("li", { title: act.explanation },
    `${act.subject} · ${act.verb} · ${act.object} `, make("span", { className: "rating" }, `contact ${act.contact}, dynamism ${act.dynamism}, sure ${act.confidence}`))));
  stage.show(clip);
  choose(clip.tracks[0].id);
  stage.seek(0);
} catch (error) { by("status").textContent = error.message; }
document.body.dataset.ready = "yes";
