// Brush, eraser, polygon and box: what the pointer does to the mask of the chosen track in the frame that is shown.
// A stroke is of the track and the frame where it began, whatever is chosen or shown when it ends.

import { decode, encode } from "./masks.js";

export class Tools {
  /** `changed(id, frame, counts)` is called once a stroke is done. */
  constructor(stage, holder, changed) {
    this.stage = stage;
    this.holder = holder;
    this.changed = changed;
    this.name = null;
    this.radius = 8;
    this.points = [];
    this.target = null;
    const canvas = stage.overlay;
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("pointercancel", () => this.drop());
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
    this.holder.classList.toggle("tool", this.name !== null);
    this.stage.hold();
    this.drop();
  }

  /** Forget what was begun. */
  drop() {
    this.points = [];
    this.mask = null;
    this.target = null;
    this.stage.draw();
  }

  /** Whether what was begun is of the frame and the track of now. */
  here() {
    return this.target !== null && this.target.id === this.stage.chosen && this.target.frame === this.stage.frame;
  }

  /** The mask that the target has before the stroke. */
  before() {
    const { width, height, tracks } = this.stage.clip;
    return decode(tracks.find((t) => t.id === this.target.id).masks[this.target.frame], height, width);
  }

  at(event) {
    const rect = this.stage.overlay.getBoundingClientRect();
    return [((event.clientX - rect.left) / rect.width) * this.stage.clip.width,
      ((event.clientY - rect.top) / rect.height) * this.stage.clip.height];
  }

  down(event) {
    if (!this.name || !this.stage.chosen) return;
    const point = this.at(event);
    this.stage.overlay.setPointerCapture(event.pointerId);
    this.stage.hold();
    if (this.name === "polygon" && this.here()) this.points.push(point);
    else {
      this.points = [point];
      this.target = { id: this.stage.chosen, frame: this.stage.frame };
    }
    if (this.name === "brush" || this.name === "eraser") {
      this.mask = this.before();
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
      const mask = this.before();
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
    const { width, height } = this.stage.clip, { id, frame } = this.target;
    this.drop();
    this.changed(id, frame, encode(mask, height, width));
  }

  sketch(pen) {
    if (!this.here()) return;
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
