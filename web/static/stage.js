// The playing video and the still overlay above it. What is drawn belongs to the very frame that is shown:
// requestVideoFrameCallback tells the media time of each frame as it is put on the screen.

import { decode } from "./masks.js";

// Besides colour each track has a texture of its own, for people who cannot tell the colours apart.
const TEXTURES = [
  () => true,
  (x, y) => (x + y) % 8 < 5,
  (x, y) => y % 7 < 4,
  (x, y) => x % 7 < 4,
  (x, y) => (x - y + 4096) % 8 < 5,
];

export class Stage {
  constructor(video, overlay, shown) {
    this.video = video;
    this.overlay = overlay;
    this.pen = overlay.getContext("2d");
    this.clip = null;
    this.frame = 0;
    this.layers = { masks: true, boxes: false, names: true, union: false, opacity: 0.45 };
    this.chosen = null;
    this.sketch = null;
    this.shown = shown;
    this.pictures = new Map();
    const onFrame = (_, meta) => {
      if (this.clip) this.present(Math.min(this.clip.frames - 1, Math.round(meta.mediaTime * this.clip.fps)));
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  }

  show(clip) {
    this.clip = clip;
    this.overlay.width = clip.width;
    this.overlay.height = clip.height;
    this.draw();
  }

  present(frame) {
    this.frame = frame;
    this.draw();
    this.shown(frame);
  }

  /** Show frame `t`, paused. */
  seek(t) {
    this.video.pause();
    const frame = Math.max(0, Math.min(this.clip.frames - 1, t));
    this.video.currentTime = (frame + 0.5) / this.clip.fps;
  }

  /** Stop at the frame that is shown. */
  hold() {
    if (!this.video.paused) this.seek(this.frame);
  }

  toggle() {
    if (this.video.paused) {
      if (this.video.ended) this.video.currentTime = 0;
      this.video.play();
    } else this.video.pause();
  }

  /** A mask in its colour and texture, as a canvas; drawn once, and again when it changes. */
  picture(track, index, frame) {
    const counts = track.masks[frame], key = `${track.id} ${frame}`;
    const known = this.pictures.get(key);
    if (known && known.counts === counts) return known;
    const { width, height } = this.clip;
    const mask = decode(counts, height, width);
    const canvas = new OffscreenCanvas(width, height);
    const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(track.colour.slice(i, i + 2), 16));
    const texture = TEXTURES[index % TEXTURES.length];
    let left = width, top = height, right = -1, bottom = -1;
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++)
        if (mask[i]) {
          const edge = !(mask[i - 1] && mask[i + 1] && mask[i - width] && mask[i + width]);
          image.data.set([r, g, b, edge ? 255 : texture(x, y) ? 200 : 70], 4 * i);
          left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
        }
    pen.putImageData(image, 0, 0);
    const made = { counts, canvas, box: right < 0 ? null : [left, top, right + 1, bottom + 1] };
    this.pictures.set(key, made);
    if (this.pictures.size > 400) this.pictures.delete(this.pictures.keys().next().value);
    return made;
  }

  draw() {
    if (!this.clip) return;
    this.pen.clearRect(0, 0, this.overlay.width, this.overlay.height);
    this.drawOn(this.pen, this.frame, 1);
    this.sketch?.(this.pen);
  }

  /** All layers of a frame; `scale` for the small frames below. */
  drawOn(pen, frame, scale) {
    const act = this.clip.acts[0], { masks, boxes, names, union, opacity } = this.layers;
    const size = [this.clip.width * scale, this.clip.height * scale], labels = [];
    this.clip.tracks.forEach((track, index) => {
      if (!track.masks[frame] || track.decision === "drop") return;
      const { canvas, box } = this.picture(track, index, frame);
      const inUnion = union && act && (track.id === act.subject || track.id === act.object);
      pen.globalAlpha = track.id === this.chosen ? Math.min(1, opacity + 0.2) : opacity;
      if (masks || inUnion) pen.drawImage(canvas, 0, 0, ...size);
      pen.globalAlpha = 1;
      const [x0, y0, x1, y1] = box.map((v) => v * scale);
      if (boxes || inUnion) {
        pen.setLineDash(inUnion ? [6, 4] : []);
        pen.strokeStyle = inUnion ? "#fff" : track.colour;
        pen.lineWidth = 2;
        pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
        pen.setLineDash([]);
      }
      if (names && scale === 1) {
        pen.font = `${Math.max(11, Math.round(this.clip.height / 28))}px sans-serif`;
        const words = `${track.id} ${track.noun}`, wide = pen.measureText(words).width, high = parseInt(pen.font) + 4;
        const x = Math.min(x0, this.clip.width - wide - 6);
        const free = (y) => y >= high && !labels.some((l) => x < l.x + l.wide + 6 && l.x < x + wide + 6 && Math.abs(l.y - y) < high);
        const y = [0, -1, -2, -3, -4, 1, 2, 3, 4].map((line) => Math.max(high, y0) + line * high).find(free) ?? Math.max(high, y0);
        labels.push({ x, y, wide });
        pen.fillStyle = "#000c";
        pen.fillRect(x, y - high, wide + 6, high);
        pen.fillStyle = track.colour;
        pen.fillText(words, x + 3, y - 5);
      }
    });
  }
}

/** The numbers of a track over time; a line each, with the frame of now. Gaps are where nothing is visible. */
export function drawCurves(canvas, clip, track, frame) {
  const pen = canvas.getContext("2d"), { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  if (!track) return;
  const x = (t) => 4 + (t / Math.max(1, clip.frames - 1)) * (width - 8);
  const most = (values) => Math.max(...values.filter((v) => v !== null), 1e-9);
  const line = (values, top, colour, dash) => {
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.setLineDash(dash);
    pen.beginPath();
    let open = false;
    values.forEach((v, t) => {
      if (v === null) { open = false; return; }
      const y = height - 6 - (v / top) * (height - 14);
      if (open) pen.lineTo(x(t), y); else pen.moveTo(x(t), y);
      open = true;
    });
    pen.stroke();
    pen.setLineDash([]);
  };
  line(track.curves.area, most(track.curves.area), "#0b57d0", []);
  line(track.curves.likeness, 1, "#9a5b00", [8, 3]);
  line(track.curves.leap, Math.max(1, most(track.curves.leap)), "#8a1c6e", [2, 3]);
  pen.fillStyle = "#e08600";
  pen.fillRect(x(frame) - 1, 0, 2, height);
  for (const t of track.locked) pen.fillRect(x(t) - 3, height - 4, 6, 4);
}
