// Brush, eraser, polygon and box: what the pointer does to the mask of the chosen track in the frame that is shown.

import { decode, encode } from "./masks.js";

export class Tools {
  /** `changed(track, frame, counts)` is called once a stroke is done. */
  constructor(stage, holder, changed) {
    this.stage = stage;
    this.holder = holder;
    this.changed = changed;
    this.name = null;
    this.radius = 8;
    this.points = [];
    const canvas = stage.overlay;
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("wheel", (e) => {
      if (!this.name) return;
      e.preventDefault();
      this.radius = Math.max(1, Math.min(80, this.radius + (e.deltaY < 0 ? 1 : -1)));
    }, { passive: false });
    stage.sketch = (pen) => this.sketch(pen);
  }

  take(name) {
    if (this.name === "polygon" && name === "polygon" && this.points.length > 2) return this.close();
    this.name = this.name === name ? null : name;
    this.points = [];
    this.mask = null;
    this.holder.classList.toggle("tool", this.name !== null);
    this.stage.video.pause();
    this.stage.draw();
  }

  track() {
    return this.stage.clip.tracks.find((t) => t.id === this.stage.chosen);
  }

  at(event) {
    const rect = this.stage.overlay.getBoundingClientRect();
    return [((event.clientX - rect.left) / rect.width) * this.stage.clip.width,
      ((event.clientY - rect.top) / rect.height) * this.stage.clip.height];
  }

  down(event) {
    if (!this.name || !this.track()) return;
    const point = this.at(event), { width, height } = this.stage.clip;
    this.stage.overlay.setPointerCapture(event.pointerId);
    if (this.name === "polygon") this.points.push(point);
    else this.points = [point];
    if (this.name === "brush" || this.name === "eraser") {
      this.mask = decode(this.track().masks[this.stage.frame], height, width);
      this.dab(point);
    }
    this.stage.draw();
  }

  move(event) {
    if (!this.name || !event.buttons || !this.points.length) return;
    const point = this.at(event);
    if (this.mask) {
      const [x, y] = this.points[this.points.length - 1], far = Math.hypot(point[0] - x, point[1] - y);
      const steps = Math.max(1, Math.ceil(far / Math.max(1, this.radius / 2)));
      for (let k = 1; k <= steps; k++) this.dab([x + ((point[0] - x) * k) / steps, y + ((point[1] - y) * k) / steps]);
      this.points.push(point);
    } else if (this.name === "box") this.points[1] = point;
    this.stage.draw();
  }

  up() {
    if (this.mask) this.put(this.mask);
    else if (this.name === "box" && this.points.length === 2) {
      const [[x0, y0], [x1, y1]] = this.points;
      this.put(this.filled([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]));
    }
  }

  /** Ends a polygon, which adds to the mask that is there. */
  close() {
    if (this.name === "polygon" && this.points.length > 2) {
      const { width, height } = this.stage.clip, mask = decode(this.track().masks[this.stage.frame], height, width);
      this.filled(this.points).forEach((v, i) => { mask[i] |= v; });
      this.put(mask);
    }
  }

  dab([x, y]) {
    const { width, height } = this.stage.clip, r = this.radius, value = this.name === "brush" ? 1 : 0;
    for (let v = Math.max(0, Math.ceil(y - r)); v <= Math.min(height - 1, y + r); v++)
      for (let u = Math.max(0, Math.ceil(x - r)); u <= Math.min(width - 1, x + r); u++)
        if ((u - x) ** 2 + (v - y) ** 2 <= r * r) this.mask[v * width + u] = value;
  }

  filled(points) {
    const { width, height } = this.stage.clip, canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d");
    pen.beginPath();
    points.forEach(([x, y]) => pen.lineTo(x, y));
    pen.fill();
    const { data } = pen.getImageData(0, 0, width, height);
    return Uint8Array.from({ length: width * height }, (_, i) => (data[4 * i + 3] > 127 ? 1 : 0));
  }

  put(mask) {
    const { width, height } = this.stage.clip;
    this.points = [];
    this.mask = null;
    this.changed(this.track(), this.stage.frame, encode(mask, height, width));
  }

  sketch(pen) {
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    if (this.mask) {
      const [x, y] = this.points[this.points.length - 1];
      pen.beginPath();
      pen.arc(x, y, this.radius, 0, 7);
      pen.stroke();
      pen.fillStyle = this.name === "brush" ? "#fff8" : "#0008";
      for (const [u, v] of this.points) { pen.beginPath(); pen.arc(u, v, this.radius, 0, 7); pen.fill(); }
    } else if (this.name === "polygon" && this.points.length) {
      pen.beginPath();
      this.points.forEach(([x, y]) => pen.lineTo(x, y));
      pen.stroke();
    } else if (this.name === "box" && this.points.length === 2) {
      const [[x0, y0], [x1, y1]] = this.points;
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }
}
