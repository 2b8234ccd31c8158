"use strict";
const sources = [...document.querySelectorAll("script.clip")];
const find = (id) => document.getElementById(id);
const canvas = document.querySelector(".stage canvas"), pen = canvas.getContext("2d");
const KINDS = { v2t: "video to text", v2v: "video to video" };
// What a value of 1 would be.
const ONE = {
  v2t: "A value is the share of a place's attention that goes to a token of the word; 1 would be all of it.",
  v2v: "A value is the share of attention that goes to a place from where the word's thing is in the first frame; 1 would be all of it.",
};
let clip, images, word = 0, kind = "v2t", frame = 0, timer = null;

// Dark to light through red and yellow; nothing where there is no attention.
function ink(value) {
  const x = value / 255;
  return [255 * Math.min(1, 2.2 * x), 255 * Math.max(0, 1.6 * x - .5), 255 * Math.max(0, 4 * x - 3), 225 * Math.pow(x, .8)];
}

function overlay(map, t) {
  const [, h, w] = clip.lattice, layer = new OffscreenCanvas(w, h), on = layer.getContext("2d");
  const pixels = on.createImageData(w, h);
  for (let i = 0; i < h * w; i++) pixels.data.set(ink(map.charCodeAt(t * h * w + i)), 4 * i);
  on.putImageData(pixels, 0, 0);
  return layer;
}

// The colours as they lie on a dark picture, and their values.
function legend(most) {
  const bar = find("scale"), on = bar.getContext("2d");
  for (let x = 0; x < bar.width; x++) {
    const [r, g, b, a] = ink(255 * x / (bar.width - 1));
    on.fillStyle = "#333"; on.fillRect(x, 0, 1, bar.height);
    on.fillStyle = `rgba(${r}, ${g}, ${b}, ${a / 255})`; on.fillRect(x, 0, 1, bar.height);
  }
  find("ticks").replaceChildren(...[0, most / 2, most].map((value) => {
    const tick = document.createElement("span"); tick.textContent = value ? value.toPrecision(2) : "0"; return tick;
  }));
  find("one").textContent = ONE[kind];
}

function draw() {
  const own = clip.words[word], [H, W] = clip.size;
  canvas.width = 720; canvas.height = Math.round(720 * H / W);
  pen.filter = "brightness(.7)";
  if (images[frame].complete && images[frame].naturalWidth) pen.drawImage(images[frame], 0, 0, canvas.width, canvas.height);
  pen.filter = "none";
  if (own.maps[kind]) pen.drawImage(overlay(atob(own.maps[kind]), frame), 0, 0, canvas.width, canvas.height);
  for (const [width, colour] of [[5, "#000"], [2.5, own.colour]]) {
    pen.lineWidth = width; pen.strokeStyle = colour;
    for (const line of own.outlines[frame]) {
      pen.beginPath();
      for (let i = 0; i < line.length; i += 2) pen.lineTo(line[i] * canvas.width / 1000, line[i + 1] * canvas.height / 1000);
      pen.closePath(); pen.stroke();
    }
  }
  find("at").value = frame;
  find("frame").textContent = `${frame + 1} / ${clip.lattice[0]}`;
}

function buttons(where, labels, chosen, pick) {
  where.replaceChildren(...labels.map(({ text, colour, off }, i) => {
    const button = document.createElement("button");
    if (colour) { const dot = document.createElement("i"); dot.className = "dot"; dot.style.background = colour; button.append(dot); }
    button.append(text); button.classList.toggle("on", i === chosen); button.disabled = !!off; button.onclick = () => { pick(i); show(); };
    return button;
  }));
}

function show() {
  const own = clip.words[word];
  buttons(find("words"), clip.words.map((w) => ({ text: w.words, colour: w.colour })), word, (i) => { word = i; });
  buttons(find("kinds"), Object.entries(KINDS).map(([k, text]) => ({ text, off: !own.maps[k] })), Object.keys(KINDS).indexOf(kind),
    (i) => { kind = Object.keys(KINDS)[i]; });
  document.querySelector(".scale").hidden = !own.maps[kind];
  if (own.maps[kind]) legend(own.most[kind]);
  draw();
}

function open(i) {
  clip = JSON.parse(sources[i].textContent); word = 0; frame = 0;
  images = clip.frames.map((source) => { const image = new Image(); image.onload = draw; image.src = source; return image; });
  find("caption").textContent = clip.caption; find("at").max = clip.lattice[0] - 1;
  show();
}

function play(on) {
  clearInterval(timer); timer = null;
  if (on) timer = setInterval(() => { frame = (frame + 1) % clip.lattice[0]; draw(); }, 1000 / Math.min(8, Math.max(2, clip.fps)));
  find("play").textContent = on ? "⏸" : "▶";
}

sources.forEach((source, i) => find("clips").add(new Option(`${i + 1}: ${JSON.parse(source.textContent).caption}`.slice(0, 70), i)));
find("clips").onchange = (event) => open(+event.target.value);
find("play").onclick = () => play(!timer);
find("at").oninput = (event) => { play(false); frame = +event.target.value; draw(); };
if (sources.length) open(0); else find("player").hidden = true;
