// One picture with its outline: drawn at the size of the window, its points moved by pointer and keys. Points are pixels of the clip.

const REACH = 18;  // CSS px around a point that take hold of it
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Picture {
  /**
   * box: [x, y, width, height] of the picture in the clip. told: {move(point, to, done), line(ends, done), choose(point), drop()}, `done`
   * false while the pointer is down; drop where it was lost.
   */
  constructor(canvas, name, told) {
    Object.assign(this, { canvas, name, told, box: null, image: null, points: null, faint: null, line: null, chosen: 0, shown: true });
    this.held = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.take(event));
    canvas.addEventListener("pointermove", (event) => this.pull(event, false));
    canvas.addEventListener("pointerup", (event) => this.pull(event, true));
    canvas.addEventListener("pointercancel", () => { this.held = null; told.drop(); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
  }

  /** Scale and corner by which pixels of the clip lie in the canvas, in CSS px. */
  place() {
    const [x, y, width, height] = this.box;
    const scale = Math.min(this.canvas.clientWidth / width, this.canvas.clientHeight / height);
    return { scale, left: (this.canvas.clientWidth - scale * width) / 2 - scale * x, top: (this.canvas.clientHeight - scale * height) / 2 - scale * y };
  }

  seen([x, y]) {
    const { scale, left, top } = this.place();
    return [left + scale * (x + 0.5), top + scale * (y + 0.5)];
  }

  at(event) {
    const { scale, left, top } = this.place();
    const frame = this.canvas.getBoundingClientRect();
    return [(event.clientX - frame.left - left) / scale - 0.5, (event.clientY - frame.top - top) / scale - 0.5];
  }

  nearest(points, event) {
    const frame = this.canvas.getBoundingClientRect();
    let best = { index: -1, distance: REACH };
    points.forEach((point, index) => {
      const [x, y] = this.seen(point);
      const distance = Math.hypot(x - event.clientX + frame.left, y - event.clientY + frame.top);
      if (distance < best.distance) best = { index, distance };
    });
    return best.index;
  }

  take(event) {
    if (!this.points || event.button !== 0) return;
    const end = this.line ? this.nearest(this.line, event) : -1;
    const index = end < 0 && this.shown ? this.nearest(this.points, event) : -1;
    if (end < 0 && index < 0) return;
    const of = end >= 0 ? this.line : this.points, which = end >= 0 ? end : index;
    const [x, y] = this.at(event);
    // The point stays under the pointer where it was taken, beside its middle too.
    this.held = { isLine: end >= 0, index: which, off: [of[which][0] - x, of[which][1] - y], moved: false, from: [event.clientX, event.clientY] };
    this.canvas.setPointerCapture(event.pointerId);
    if (end < 0) this.choose(index);
  }

  pull(event, done) {
    if (!this.held) return;
    const { isLine, index, off, from } = this.held;
    this.held.moved ||= Math.hypot(event.clientX - from[0], event.clientY - from[1]) >= 2;
    const [x, y] = this.at(event);
    const to = this.inside([x + off[0], y + off[1]]);
    const moved = this.held.moved;
    if (done) this.held = null;
    if (!moved) return;
    if (isLine) {
      this.line = this.line.map((end, i) => (i === index ? to : end));
      this.told.line(this.line, done);
    } else {
      this.points = this.points.map((point, i) => (i === index ? to : point));
      this.told.move(index, to, done);
    }
    this.draw();
  }

  inside([x, y]) {
    const [left, top, width, height] = this.box;
    const within = (value, low, size) => Math.round(Math.min(Math.max(value, low), low + size - 1) * 100) / 100;
    return [within(x, left, width), within(y, top, height)];
  }

  key(event) {
    if (!this.points || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "[" || event.key === "]") {
      this.choose((this.chosen + (event.key === "]" ? 1 : this.points.length - 1)) % this.points.length);
    } else if (STEPS[event.key]) {
      const pixels = event.shiftKey ? 5 : 1;
      const [x, y] = this.points[this.chosen];
      const to = this.inside([x + pixels * STEPS[event.key][0], y + pixels * STEPS[event.key][1]]);
      this.points = this.points.map((point, i) => (i === this.chosen ? to : point));
      this.told.move(this.chosen, to, false, true);
      this.draw();
    } else return;
    event.preventDefault();
  }

  choose(index) {
    this.chosen = index;
    this.told.choose(index);
    this.draw();
  }

  draw() {
    const { canvas } = this, ratio = window.devicePixelRatio || 1;
    const size = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!this.box) return;
    const [x, y, width, height] = this.box, { scale, left, top } = this.place();
    pen.imageSmoothingQuality = "high";
    if (this.image) pen.drawImage(this.image, left + scale * x, top + scale * y, scale * width, scale * height);
    if (this.shown && this.faint) this.outline(pen, this.faint, colour("source"), 1, 0.8);
    if (this.shown && this.points) {
      const own = colour(this.name === "source" ? "source" : "drawn");
      this.outline(pen, this.points, own, 1.5, 1);
      this.handles(pen, own);
    }
    if (this.line) this.ruler(pen);
  }

  outline(pen, points, stroke, width, alpha) {
    pen.beginPath();
    points.map((point) => this.seen(point)).forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    Object.assign(pen, { strokeStyle: stroke, lineWidth: width, globalAlpha: alpha });
    pen.stroke();
    pen.globalAlpha = 1;
  }

  handles(pen, fill) {
    const focused = document.activeElement === this.canvas;
    this.points.forEach((point, i) => {
      const [x, y] = this.seen(point), chosen = i === this.chosen;
      pen.beginPath();
      pen.arc(x, y, chosen ? 6 : 3, 0, 7);
      Object.assign(pen, { fillStyle: chosen ? "#ffffff" : fill, strokeStyle: chosen && focused ? fill : "#000000", lineWidth: chosen && focused ? 3 : 1 });
      pen.fill();
      pen.stroke();
    });
  }

  ruler(pen) {
    const [from, to] = this.line.map((end) => this.seen(end));
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    Object.assign(pen, { strokeStyle: "#ffffff", lineWidth: 1.5, fillStyle: "#ffffff" });
    pen.setLineDash([6, 4]);
    pen.stroke();
    pen.setLineDash([]);
    for (const [x, y] of [from, to]) pen.fillRect(x - 5, y - 5, 10, 10);
  }
}
