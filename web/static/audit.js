// One question after the other. Only the tracks that it is about are drawn.

import { get, post } from "./common.js";
import { Stage } from "./stage.js";

const by = (id) => document.getElementById(id);
const asked = [];
let now = null, clip = null;
const stage = new Stage(by("video"), by("overlay"), (frame) => {
  by("seek").value = frame;
  by("frame").textContent = `${frame} of ${clip.frames - 1}`;
});

async function show(found) {
  by("progress").textContent = `${found.done} of ${found.of} answered`;
  by("table").textContent = found.question ? "" : found.table; // figures so far would sway who answers
  now = found.question;
  by("question").textContent = now ? now.text : "All is answered.";
  if (!now) return;
  const whole = await get(`/api/clip/${now.clip}`);
  clip = { ...whole, tracks: whole.tracks.filter((t) => now.ids.includes(t.id)) };
  if (by("video").dataset.clip !== now.clip) {
    by("video").dataset.clip = now.clip;
    by("video").src = `/media/${now.clip}.mp4`;
  }
  by("seek").max = clip.frames - 1;
  by("zoomed").style.width = `${Math.min(720, (420 * clip.width) / clip.height)}px`;
  stage.show(clip);
  stage.seek(now.frame);
}

async function answer(yes) {
  if (!now) return;
  asked.push(now);
  try { await show(await post("/api/answer", { number: now.number, yes })); by("status").textContent = ""; }
  catch (error) { by("status").textContent = error.message; }
}
async function back() {
  const last = asked.pop();
  if (last) await show({ ...(await get("/api/next")), question: last });
}

by("yes").addEventListener("click", () => answer(true));
by("no").addEventListener("click", () => answer(false));
by("back").addEventListener("click", back);
by("play").addEventListener("click", () => stage.toggle());
by("seek").addEventListener("input", (e) => stage.seek(+e.target.value));
document.addEventListener("keydown", (event) => {
  const does = {
    y: () => answer(true), n: () => answer(false), b: back, " ": () => stage.toggle(),
    arrowleft: () => stage.seek(stage.frame - 1), arrowright: () => stage.seek(stage.frame + 1),
    m: () => { stage.layers.masks = !stage.layers.masks; stage.draw(); },
  }[event.key.toLowerCase()];
  if (!does || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("button, input")) return;
  event.preventDefault();
  does();
});

await show(await get("/api/next"));
document.body.dataset.ready = "yes";
