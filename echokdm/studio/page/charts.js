// Curves over the result's frames, and M-modes; the frame that is looked at is a line through all of them.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const BESIDE = 40, BELOW = 18, ABOVE = 8;  // CSS px around a plot

function begin(canvas) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** A round number of about `size`. */
function step(size) {
  const ten = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].map((times) => times * ten).find((value) => value >= size);
}

class Chart {
  /** seek: told the frame that was pointed at. */
  constructor(canvas, beside, seek) {
    Object.assign(this, { canvas, beside, frames: 1, frame: 0 });
    new ResizeObserver(() => this.draw()).observe(canvas);
    const point = (event) => {
      if (!(event.buttons & 1)) return;
      const share = (event.clientX - canvas.getBoundingClientRect().left - beside) / (canvas.clientWidth - beside - 6);
      seek(Math.round(Math.min(Math.max(share, 0), 1) * (this.frames - 1)));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", point);
  }

  across(frame) {
    return this.beside + (this.canvas.clientWidth - this.beside - 6) * frame / Math.max(this.frames - 1, 1);
  }

  cursor(pen, bottom) {
    pen.fillStyle = "#ffffff";
    pen.fillRect(this.across(this.frame) - 0.5, 0, 1, bottom);
  }
}

export class Curves extends Chart {
  constructor(canvas, name, seek) {
    super(canvas, BESIDE, seek);
    Object.assign(this, { name, curves: [], beats: [] });
  }

  draw() {
    const pen = begin(this.canvas), width = this.canvas.clientWidth, bottom = this.canvas.clientHeight - BELOW;
    const values = this.curves.flatMap(({ values: some }) => some);
    if (!values.length || bottom < 20) return;
    let low = Math.min(...values), high = Math.max(...values);
    if (high - low < 1e-6) [low, high] = [low - 1, high + 1];
    const tick = step((high - low) / 3);
    [low, high] = [Math.floor(low / tick) * tick, Math.ceil(high / tick) * tick];
    const up = (value) => bottom - (bottom - ABOVE) * (value - low) / (high - low);
    Object.assign(pen, { font: "12px system-ui, sans-serif", textAlign: "right", textBaseline: "middle", lineWidth: 1 });
    for (let value = low; value <= high + tick / 2; value += tick) {
      pen.fillStyle = colour("edge");
      pen.fillRect(this.beside, up(value), width - this.beside - 6, 1);
      pen.fillStyle = colour("soft");
      pen.fillText(Math.abs(value) < 10_000 ? String(Number(value.toPrecision(6))) : `${value / 1000}k`, this.beside - 6, up(value));
    }
    Object.assign(pen, { textAlign: "center", textBaseline: "bottom" });
    for (const [ed, es] of this.beats) {
      for (const [name, frame] of [["ED", ed], ["ES", es]]) pen.fillText(name, Math.min(this.across(frame), width - 12), bottom + BELOW - 1);
    }
    for (const { name, values: some, dots } of this.curves) {
      Object.assign(pen, { strokeStyle: colour(name), fillStyle: colour(name), lineWidth: 2 });
      pen.beginPath();
      some.forEach((value, frame) => {
        const at = [this.across(frame), up(value)];
        if (dots) pen.fillRect(at[0] - 1.5, at[1] - 1.5, 3, 3);
        else if (frame) pen.lineTo(...at);
        else pen.moveTo(...at);
      });
      pen.stroke();
    }
    this.cursor(pen, bottom);
    const told = this.curves.map(({ name, values: some }) => `${name} ${Math.min(...some).toFixed(1)} to ${Math.max(...some).toFixed(1)}`);
    this.canvas.setAttribute("aria-label", `${this.name}: ${told.join(", ")}`);
  }
}

export class MMode extends Chart {
  constructor(canvas, seek) {
    super(canvas, 6, seek);
    this.image = null;
  }

  draw() {
    const pen = begin(this.canvas), height = this.canvas.clientHeight;
    if (!this.image) return;
    // A column a frame: the picture reaches half a column beyond the middle of the first and the last.
    const half = (this.across(1) - this.across(0)) / 2;
    pen.drawImage(this.image, this.across(0) - half, 0, 2 * half * this.frames, height);
    this.cursor(pen, height);
  }
}
