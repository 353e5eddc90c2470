// The page: what is shown, what was just done with it, and what the server made of that.

import { Curves, MMode } from "./charts.js";
import { Slider, WALLS, WISHES } from "./controls.js";
import { Frames } from "./frames.js";
import { Picture } from "./picture.js";
import { save } from "./save.js";
import { Session, begin, isOurs, stop } from "./server.js";

const $ = (id) => document.getElementById(id);
const STILL_MS = 500;  // after the last arrow key, when a step is made of them

let session = null, state = null, frame = 0, playing = false;
let trying = null, latest = null, tries = 0;  // the preview on its way, the change that it is overtaken by, and which are too old
let nudged = null;
const frames = new Frames();

const pictures = Object.fromEntries(["source", "result"].map((name) => [name, new Picture($(name), name, {
  move: (point, to, done, byKey) => move(name, point, to, done, byKey),
  line: rule,
  drop: () => state && step(async () => state),
  choose: (index) => Object.values(pictures).forEach((picture) => { picture.chosen = index; picture.draw(); }),
})]));
const charts = {
  volume: new Curves($("volume"), "Volume", show), strain: new Curves($("strain"), "Longitudinal strain", show),
  source: new MMode($("m-source"), show), result: new MMode($("m-result"), show),
};
const sliders = Object.fromEntries(WISHES.map((one) => [one.name, new Slider($("sliders"), one,
  (value, done) => wish({ [one.name]: value }, done))]));
const walls = Object.fromEntries(WALLS.map((name) => [name, new Slider($("walls"),
  { name, label: name, unit: "", min: -0.5, max: 1.5, step: 0.1 },
  (value, done) => wish({ walls: { [name]: value ?? 1 } }, done))]));

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
}

/** Do what the user asked, and say why where it can't be. */
async function doing(work) {
  try {
    return await work();
  } catch (error) {
    if (error.status === 404) forget();
    say(error.message, true);
    return undefined;
  }
}

// A clip

async function open(file) {
  const before = session;
  document.body.setAttribute("aria-busy", "true");
  $("welcome-title").textContent = "Finding the left ventricle";
  $("welcome-text").textContent = "This takes some seconds; print over the sector is looked for, too.";
  say(file ? "Reading the clip, finding the left ventricle ..." : "");
  await doing(async () => {
    const begun = await begin(file);
    if (begun.session === null) return;
    session = new Session(begun.session);
    sessionStorage.setItem("session", begun.session);
    await isOurs(begun.session);
    before?.close().catch(() => {});
    frame = begun.state.es;
    say("");
    take(begun.state, true);
  });
  document.body.removeAttribute("aria-busy");
  if (!session) welcome();
}

function welcome() {
  $("welcome-title").textContent = "Drop a clip here";
  $("welcome-text").textContent = "An apical four-chamber clip: DICOM, AVI, MP4, GIF, NIfTI or .npz. It stays on this machine, and nothing of "
    + "it is kept unless you save.";
  buttons();
}

function forget() {
  session = null;
  state = null;
  frames.end();
  sessionStorage.removeItem("session");
  $("work").hidden = true;
  $("welcome").hidden = false;
  welcome();
}

/** Show a state that the server told. isNew: it is another clip's. */
function take(told, isNew = false) {
  state = told;
  frames.begin(session, state, isNew);
  $("welcome").hidden = true;
  $("work").hidden = false;
  for (const picture of Object.values(pictures)) {
    picture.box = state.clip.box;
    if (isNew) picture.image = null;
  }
  $("time").max = state.picks.length - 1;
  $("command").value = state.command;
  const own = { ef: state.curves.ef.drawn, heart_rate: state.clip.heart_rate, edv: 100, gls: state.curves.strain.drawn[state.es] };
  for (const [name, slider] of Object.entries(sliders)) slider.set(state.edit[name], own[name]);
  for (const [name, slider] of Object.entries(walls)) slider.set(state.edit.walls[name] ?? null, 1);
  $("source-note").textContent = state.corrected.length ? `put right in ${state.corrected.length} frame${state.corrected.length > 1 ? "s" : ""}, `
    + "the others follow" : "drag a point where the outline is wrong";
  curves(state.curves);
  charts.result.image = null;
  if (isNew || charts.source.columns !== state.picks.length) charts.source.image = null;
  made();
  quality(false);
  show(Math.min(frame, state.picks.length - 1));
  watch();
}

function curves({ unit, volume, strain, ef }) {
  const measured = state.making.measured;
  $("volume-unit").textContent = unit.replace("^3", "³");
  charts.volume.curves = [{ name: "source", values: volume.source }, { name: "drawn", values: volume.drawn }];
  if (measured?.volume && volume.drawn.length === measured.volume.length && !trying) {
    charts.volume.curves.push({ name: "measured", values: measured.volume, dots: true });
  }
  charts.strain.curves = [{ name: "source", values: strain.source }, { name: "drawn", values: strain.drawn }];
  for (const chart of Object.values(charts)) Object.assign(chart, { frames: volume.drawn.length, beats: state.beats, frame });
  for (const chart of Object.values(charts)) chart.draw();
  $("ef-source").textContent = `${ef.source} %`;
  $("ef-asked").textContent = `${ef.asked} %`;
}

/** Show how far the result is. */
function made() {
  const { making } = state;
  const { measured } = making;
  $("ef-measured").textContent = measured ? (measured.ef === null ? "none" : `${measured.ef} %`) : "…";
  $("ef-measured").classList.toggle("bad", Boolean(measured?.warning));
  const { doubt, sureness, fps, fps_assumed: assumed } = state.clip;
  $("notes").replaceChildren(...[measured?.warning, doubt, sureness, assumed && `The file states no frame rate; ${fps} a second were assumed.`]
    .filter(Boolean).map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  if (making.error) say(making.error, true);
  buttons();
}

/** Ask how far the result is until it is whole. */
async function watch() {
  const { key } = state.making;
  while (state && state.making.key === key && !state.making.measured && !state.making.error) {
    await new Promise((wake) => setTimeout(wake, 200));
    if (!state || state.making.key !== key) return;
    const before = state.making;
    const now = await session.making().catch(() => null);
    if (!now || !state || now.key !== state.making.key) return;
    state.making = now;
    made();
    if (now.first !== before.first || now.measured) draw();
  }
  if (!state || state.making.key !== key || !state.making.measured) return;
  curves(state.curves);
  mModes();
  frames.fill(frame);
}

async function mModes() {
  const told = await session.mModes().catch(() => null);
  if (!told) return;
  for (const name of ["source", "result"]) {
    const image = new Image();
    image.src = told[name];
    await image.decode();
    Object.assign(charts[name], { image, columns: state.picks.length });
    charts[name].draw();
  }
}

// Frames

function show(at) {
  if (!state) return;
  frame = at;
  $("time").value = at;
  $("frame").textContent = `${at + 1} / ${state.picks.length} · ${(at / state.fps).toFixed(2)} s`;
  for (const chart of Object.values(charts)) { chart.frame = at; chart.draw(); }
  draw();
}

/** Draw the frame that is looked at: its outlines at once, its pixels when they are here. */
function draw() {
  const at = frame;
  for (const [name, picture] of Object.entries(pictures)) {
    if (!picture.held && !nudged) picture.points = state.outlines[name][at];
    picture.faint = name === "result" ? state.outlines.source[at] : null;
    picture.line = $("line").checked ? picture.line ?? state.m_mode : null;
    picture.draw();
    if (name === "result" && trying) continue;
    const { key } = state.making;
    frames.get(name, at).then(({ image, made: whole }) => {
      if (!state || frame !== at || state.making.key !== key || (name === "result" && trying)) return;
      picture.image = image;
      if (name === "result") quality(whole);
      picture.draw();
    }).catch((error) => state && say(error.message, true));
  }
}

function quality(whole) {
  const { share, measured, error } = state.making;
  const far = measured || error ? "" : share < 1 ? `, making the clip ${Math.round(100 * share)} %` : ", measuring";
  $("quality").textContent = (whole ? "made" : "preview") + far;
  $("quality").classList.toggle("made", whole);
}

function play(on) {
  playing = on && Boolean(state);
  $("play").textContent = playing ? "Stop" : "Play";
  $("play").setAttribute("aria-pressed", String(playing));
  if (!playing) return;
  const from = frame, start = performance.now();
  const next = (now) => {
    if (!playing || !state) return;
    const at = (from + Math.floor((now - start) / 1000 * state.fps)) % state.picks.length;
    if (at !== frame) show(at);
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}

// Changes

function move(picture, point, to, done, byKey = false) {
  play(false);
  const change = { frame, move: { picture, frame, point, to } };
  if (done) { commit(change); return; }
  attempt(change);
  if (!byKey) return;
  clearTimeout(nudged);  // keys have no end, so a pause is one
  nudged = setTimeout(() => { nudged = null; commit(change); }, STILL_MS);
}

function rule(line, done) {
  for (const picture of Object.values(pictures)) { picture.line = line; picture.draw(); }
  if (done) commit({ frame, wishes: { m_mode: line.flat() } });
}

function wish(wishes, done) {
  const change = { frame, wishes };
  if (done) commit(change);
  else attempt(change);
}

/** Show what a change would give; of those that come meanwhile the last alone. */
async function attempt(change) {
  latest = change;
  if (trying) return;
  const own = tries;
  trying = true;
  while (latest && own === tries) {
    const now = latest;
    latest = null;
    const told = await session.preview(now).catch((error) => { say(error.message, true); return null; });
    if (own !== tries) return;
    if (!told) continue;
    say("");
    curves(told.curves);
    $("ef-measured").textContent = "…";
    for (const [name, picture] of Object.entries(pictures)) {
      const held = picture.held && !picture.held.isLine ? picture.held.index : nudged ? picture.chosen : -1;
      const moves = now.move?.picture === name;
      picture.points = told.outlines[name].map((at, i) => (moves && i === held ? picture.points[i] : at));
    }
    pictures.result.faint = told.outlines.source;
    if (told.picture) {
      const image = new Image();
      image.src = told.picture;
      await image.decode();
      if (own !== tries) return;
      pictures.result.image = image;
      quality(false);
    }
    for (const picture of Object.values(pictures)) picture.draw();
  }
  if (own === tries) trying = null;
}

/** Make a change a step. */
async function commit(change) {
  await step(() => session.change(change));
}

async function step(ask) {
  tries += 1;  // previews on their way are too old now
  [trying, latest] = [null, null];
  clearTimeout(nudged);
  nudged = null;
  $("work").setAttribute("aria-busy", "true");
  const told = await doing(ask);
  for (const picture of Object.values(pictures)) picture.line = null;
  if (told) {
    say("");
    take(told);
  } else if (state) {
    take(state);
  }
  $("work").removeAttribute("aria-busy");
}

const undo = () => state?.undo && step(() => session.undo(frame));
const redo = () => state?.redo && step(() => session.redo(frame));

function buttons() {
  $("undo").disabled = !state?.undo;
  $("redo").disabled = !state?.redo;
  $("outlines").disabled = !state;
  $("export").disabled = !state?.making.measured;
  $("clear-drag").disabled = !state || !Object.keys(state.edit.drag).length;
  $("clear-outlines").disabled = !state?.corrected.length;
  $("clear-all").disabled = !state?.undo;
}

// What is taken away

async function exported() {
  $("export").disabled = true;
  say("Writing the outputs ...");
  const blob = await doing(() => session.exported());
  if (blob) {
    save(blob, "synth.zip");
    say("synth.zip holds what synth writes; report.html in it shows all.");
  }
  buttons();
}

// What the user does

$("open").addEventListener("change", () => { if ($("open").files[0]) open($("open").files[0]); $("open").value = ""; });
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
$("undo").addEventListener("click", undo);
$("redo").addEventListener("click", redo);
$("outlines").addEventListener("click", async () => {
  const blob = await doing(() => session.outlines());
  if (blob) save(blob, "keypoints.csv");
});
$("export").addEventListener("click", exported);
$("stop").addEventListener("click", async () => {
  [session, state, playing] = [null, null, false];
  frames.end();
  if (await doing(stop)) document.body.replaceChildren("The studio has ended, and nothing of the clip is left in it. You can close this tab.");
});
$("play").addEventListener("click", () => play(!playing));
$("to-ed").addEventListener("click", () => { play(false); show(state.ed); });
$("to-es").addEventListener("click", () => { play(false); show(state.es); });
$("time").addEventListener("input", () => { play(false); show(Number($("time").value)); });
$("show").addEventListener("change", () => Object.values(pictures).forEach((picture) => { picture.shown = $("show").checked; picture.draw(); }));
$("line").addEventListener("change", draw);
for (const what of ["drag", "outlines", "all"]) $(`clear-${what}`).addEventListener("click", () => commit({ frame, clear: what }));
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("command").value).catch(() => { $("command").select(); document.execCommand("copy"); });
  say("The command is copied.");
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea")) return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
  } else if (key === " " && !event.target.matches("button, input")) {
    event.preventDefault();
    play(!playing);
  } else if ((key === "," || key === ".") && state) {
    play(false);
    show((frame + (key === "." ? 1 : state.picks.length - 1)) % state.picks.length);
  }
});

setInterval(() => session?.making().catch(() => {}), 60_000);  // a tab that says nothing is taken for closed, when there are too many

// After a reload the tab goes on with its session; a new tab begins with the clip that the command named.
const name = sessionStorage.getItem("session");
if (name && await isOurs(name)) {
  session = new Session(name);
  await doing(async () => {
    const told = await session.state();
    frame = told.es;
    take(told, true);
  });
}
if (!session) await open();
