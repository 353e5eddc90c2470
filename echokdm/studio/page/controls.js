// The sliders: what each asks for, while it moves and when it is let go.

export const WISHES = [
  { name: "ef", label: "Ejection fraction", unit: " %", min: 5, max: 80, step: 1 },
  { name: "heart_rate", label: "Heart rate", unit: " / min", min: 30, max: 200, step: 1 },
  { name: "edv", label: "ED volume, of its own", unit: " %", min: 60, max: 150, step: 1 },
  { name: "gls", label: "Longitudinal strain", unit: " %", min: -30, max: 0, step: 0.5 },
];
export const WALLS = ["basal-septal", "mid-septal", "apical-septal", "apical-lateral", "mid-lateral", "basal-lateral"];

/** A slider that asks for nothing until it is moved, and for nothing again by its button. told(value or null, done). */
export class Slider {
  constructor(parent, { name, label, unit, min, max, step }, told) {
    this.unit = unit;
    this.row = document.createElement("div");
    this.row.className = "slider";
    const title = document.createElement("label");
    this.input = Object.assign(document.createElement("input"), { type: "range", id: `wish-${name}`, min, max, step });
    Object.assign(title, { textContent: label, htmlFor: this.input.id });
    this.output = document.createElement("output");
    this.output.htmlFor = this.input.id;
    const back = Object.assign(document.createElement("button"), { type: "button", textContent: "×", title: "Ask for nothing here" });
    back.setAttribute("aria-label", `${label}: as it is`);
    this.row.append(title, this.output, back, this.input);
    parent.append(this.row);
    this.held = false;  // an answer to an earlier change doesn't move it under the hand
    this.input.addEventListener("input", () => {
      this.held = true;
      this.tell(Number(this.input.value), true);
      told(Number(this.input.value), false);
    });
    this.input.addEventListener("change", () => { this.held = false; told(Number(this.input.value), true); });
    for (const end of ["pointerup", "pointercancel", "blur"]) this.input.addEventListener(end, () => { this.held = false; });
    back.addEventListener("click", () => told(null, true));
  }

  /** value: what is asked, or null; rest: where the slider lies then, the clip's own value; null where it has none to start from. */
  set(value, rest) {
    this.input.disabled = rest === null;
    if (rest === null) { this.output.textContent = "no whole beat"; return; }
    if (this.held) return;
    if (value === null) this.input.value = rest;
    else this.input.value = value;
    this.tell(value ?? rest, value !== null);
  }

  tell(value, asked) {
    this.row.classList.toggle("asked", asked);
    this.output.textContent = `${Number(value.toFixed(1))}${this.unit}`;
  }
}
