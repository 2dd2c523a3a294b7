// Predictions in the lesson's report: entered before an outcome is shown, kept in this browser, drawn beside the
// outcome, scored, and saved as a file. The page holds the questions and their outcomes as JSON (report.lesson_data).

/**
 * @typedef {"cost" | "percent" | "epoch"} Unit
 * @typedef {{key: string, experiment: string, text: string, unit: Unit, part: "train" | "valid", figures: string[],
 *   allowed: number, outcome: number}} NumberQuestion
 * @typedef {{key: string, experiment: string, text: string, unit: Unit, part: "train" | "valid", figures: string[],
 *   allowed: number, outcome: number[], x: [number, number], top: number, places: string[]}} CurveQuestion
 * @typedef {(number | null)[]} Drawn  one value at each of the places, null where nothing was drawn
 * @typedef {{student: string, revealed: string[], answers: Record<string, number | Drawn>}} State
 * @typedef {{report: string, data_source: string, settings: object, titles: [string, string][], points: number,
 *   area: [number, number, number, number], numbers: NumberQuestion[], curves: CurveQuestion[]}} Lesson
 */

const SVG = "http://www.w3.org/2000/svg";

/** @type {Lesson} */
const lesson = JSON.parse(document.getElementById("lesson").textContent);
const titles = new Map(lesson.titles); // of the experiments, in their order
const STORE = `breaknet.predictions.${lesson.report}`;
const [LEFT, TOP, RIGHT, BOTTOM] = lesson.area;
const LAST = lesson.points - 1;

/** @type {State} */
const state = restored();

// ---- what is kept

/** @returns {State} what an earlier visit left; anything can stand in the store, so every value is checked */
function restored() {
  const kept = { student: "", revealed: [], answers: {} };
  let found;
  try {
    found = JSON.parse(localStorage.getItem(STORE) ?? "{}");
  } catch {
    return kept; // no store, or something else in it
  }
  if (typeof found?.student === "string") kept.student = found.student.slice(0, 60);
  if (Array.isArray(found?.revealed)) kept.revealed = [...titles.keys()].filter((name) => found.revealed.includes(name));
  for (const { key } of lesson.numbers) {
    if (Number.isFinite(found?.answers?.[key])) kept.answers[key] = found.answers[key];
  }
  for (const { key } of lesson.curves) {
    const drawn = found?.answers?.[key];
    const whole = Array.isArray(drawn) && drawn.length === lesson.points;
    if (whole && drawn.every((value) => value === null || Number.isFinite(value))) kept.answers[key] = drawn;
  }
  return kept;
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify(state));
  } catch {
    // a browser that keeps nothing: the predictions last as long as the page
  }
}

/** @param {string} name */
const isRevealed = (name) => state.revealed.includes(name);

/** @param {string} name */
const isPredicted = (name) => Object.keys(state.answers).some((key) => key.startsWith(`${name}.`));

// ---- numbers

/** @param {number} value @param {Unit} unit */
function written(value, unit) {
  if (unit === "epoch") return String(Math.round(value));
  if (unit === "percent") return `${value.toFixed(1)} %`;
  return String(Number(value.toPrecision(3)));
}

/** @param {string} text as typed, with a decimal point or comma @returns {number | null} null for no number */
function parsed(text) {
  const plain = text.trim().replace(/\s*%$/, "").replace(",", ".");
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain) ? Number(plain) : null;
}

/** @param {NumberQuestion} question @param {string} text as typed @returns {string} what to ask back, or nothing */
function query(question, text) {
  const value = parsed(text);
  if (!text.trim()) return "";
  if (value === null) return "A number, please, such as 12.5.";
  if (question.unit === "percent") {
    if (value < 0 || value > 100) return "An accuracy is between 0 and 100 %.";
    if (value > 0 && value < 1) return `${value} %, or did you mean ${Number((100 * value).toPrecision(6))} %? For 10 %, write 10.`;
  }
  if (value < 0) return "This cannot be negative.";
  if (question.unit === "epoch" && value > 2 * question.allowed - 1) return "The run has fewer epochs.";
  return "";
}

/** @param {NumberQuestion} question */
function setUpNumber(question) {
  const field = /** @type {HTMLInputElement} */ (document.getElementById(question.key));
  const line = document.getElementById(`${question.key}-query`);
  const kept = state.answers[question.key];
  if (kept !== undefined) field.value = String(kept);
  field.disabled = isRevealed(question.experiment);
  field.addEventListener("input", () => {
    const value = parsed(field.value);
    if (value === null || value < 0 || (question.unit === "percent" && value > 100)) delete state.answers[question.key];
    else state.answers[question.key] = value;
    line.textContent = query(question, field.value);
    keep();
  });
}

// ---- curves

/**
 * @param {CurveQuestion} curve @param {{area: number[], x: number[], y: number[]}} axes edges of the axes (left, top,
 *   right, bottom), and what they span; those of the sketch, if none are given
 */
function pathOf(curve, { area, x, y } = { area: lesson.area, x: curve.x, y: [0, curve.top] }) {
  const place0 = area[0] + ((curve.x[0] - x[0]) / (x[1] - x[0])) * (area[2] - area[0]);
  const step = ((curve.x[1] - curve.x[0]) / (x[1] - x[0]) / LAST) * (area[2] - area[0]);
  let text = "";
  let pen = "M";
  (state.answers[curve.key] ?? []).forEach((value, place) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const height = area[3] - ((area[3] - area[1]) * (value - y[0])) / (y[1] - y[0]);
    text += `${pen}${(place0 + step * place).toFixed(1)} ${height.toFixed(1)}${pen === "M" ? "h.01" : ""}`;
    pen = "L";
  });
  return text;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {Element} parent */
function add(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return parent.appendChild(element);
}

/** @param {HTMLElement} figure empty axes in which the curves of one experiment are drawn */
function setUpSketch(figure) {
  const name = figure.dataset.sketch;
  const svg = figure.querySelector("svg");
  const layer = svg.querySelector(".curves");
  const curves = lesson.curves.filter((curve) => curve.experiment === name);
  const paths = new Map(curves.map((curve) => [curve, add("path", { class: `guess ${curve.part}` }, layer)]));
  const point = add("circle", { class: "point", r: 6 }, layer);
  /** @type {CurveQuestion} */
  let current = curves[0];
  let at = 0; // where the keyboard draws
  /** @type {[number, number] | null} */
  let before = null; // where the pointer was

  const drawn = () => (state.answers[current.key] ??= Array(lesson.points).fill(null));

  function show() {
    for (const [curve, path] of paths) path.setAttribute("d", pathOf(curve));
    const value = state.answers[current.key]?.[at] ?? null;
    point.setAttribute("cx", String(LEFT + ((RIGHT - LEFT) * at) / LAST));
    point.setAttribute("cy", String(BOTTOM - ((BOTTOM - TOP) * (value ?? current.top / 2)) / current.top));
    svg.setAttribute("aria-valuetext", `${current.text}, ${current.places[at]}: ${value === null ? "nothing drawn" : written(value, current.unit)}`);
    svg.setAttribute("aria-valuenow", String(value ?? 0));
  }

  /** @param {PointerEvent} event @returns {[number, number]} the place, and the value there */
  function where(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const share = Math.min(Math.max((x - LEFT) / (RIGHT - LEFT), 0), 1);
    const height = Math.min(Math.max((BOTTOM - y) / (BOTTOM - TOP), 0), 1);
    return [Math.round(share * LAST), height * current.top];
  }

  /** @param {PointerEvent} event */
  function draw(event) {
    const [place, value] = where(event);
    const [from, start] = before ?? [place, value];
    const steps = Math.max(Math.abs(place - from), 1);
    for (let step = 0; step <= steps; step++) {
      const between = start + ((value - start) * step) / steps;
      drawn()[from + Math.sign(place - from) * step] = Number(between.toPrecision(4));
    }
    before = [place, value];
    at = place;
    show();
  }

  /** @param {KeyboardEvent} event */
  function move(event) {
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
    const along = { ArrowRight: 1, ArrowLeft: -1, Home: -LAST, End: LAST }[event.key];
    if (up) {
      const value = (drawn()[at] ?? current.top / 2) + (up * current.top) / 50;
      drawn()[at] = Number(Math.min(Math.max(value, 0), current.top).toPrecision(4));
    } else if (along) {
      const value = state.answers[current.key]?.[at] ?? null;
      at = Math.min(Math.max(at + along, 0), LAST);
      // the curve goes on level where it has not been drawn yet
      if (Math.abs(along) === 1 && value !== null) drawn()[at] ??= value;
    } else if (event.key === "Delete" || event.key === "Backspace") {
      if (state.answers[current.key]) drawn()[at] = null;
    } else return;
    event.preventDefault();
    show();
    keep();
  }

  for (const button of document.getElementsByName(`draw-${name}`)) {
    button.addEventListener("change", () => {
      current = curves.find((curve) => curve.key === button.value);
      show();
    });
  }
  document.querySelector(`[data-clear="${name}"]`).addEventListener("click", () => {
    delete state.answers[current.key];
    show();
    keep();
  });
  svg.addEventListener("pointerdown", (event) => {
    if (isRevealed(name) || event.button) return;
    svg.setPointerCapture(event.pointerId);
    before = null;
    draw(event);
  });
  svg.addEventListener("pointermove", (event) => !isRevealed(name) && svg.hasPointerCapture(event.pointerId) && draw(event));
  svg.addEventListener("pointerup", keep);
  svg.addEventListener("mousedown", (event) => {
    event.preventDefault(); // no text is selected, nothing is dragged away
    svg.focus({ preventScroll: true });
  });
  svg.addEventListener("keydown", (event) => !isRevealed(name) && move(event));
  const slider = { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": current.top };
  for (const [attribute, value] of Object.entries(slider)) svg.setAttribute(attribute, String(value));
  show();
}

// ---- the outcome

/** Draw what was predicted into one of the outcome's figures. @param {HTMLElement} figure */
function drawInto(figure) {
  const [name, svg] = [figure.dataset.figure, figure.querySelector("svg")];
  if (!figure.dataset.axes || svg.querySelector(".mine")) return;
  const axes = JSON.parse(figure.dataset.axes);
  const [left, top, right, bottom] = axes.area;
  const [low, high] = axes.y;
  const layer = add("g", { class: "mine" }, svg);
  const inside = add("svg", { x: left, y: top, width: right - left, height: bottom - top, viewBox: `${left} ${top} ${right - left} ${bottom - top}` }, layer);
  for (const curve of lesson.curves) {
    if (curve.figures.includes(name) && state.answers[curve.key]) add("path", { class: curve.part, d: pathOf(curve, axes) }, inside);
  }
  const marked = [];
  for (const number of lesson.numbers) {
    const value = state.answers[number.key];
    if (!number.figures.includes(name) || value === undefined) continue;
    const beyond = value > high ? " ↑" : value < low ? " ↓" : "";
    const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
    marked.push({ number, height: bottom - share * (bottom - top), text: `you: ${written(value, number.unit)}${beyond}` });
  }
  marked.sort((one, other) => one.height - other.height);
  let free = top + 12; // texts do not stand on one another
  for (const { number, height, text } of marked) {
    const line = Math.max(height + 4, free);
    add("path", { class: `mark ${number.part}`, d: `M${right} ${height - 5}l5 5l-5 5l-5 -5z` }, layer);
    const place = { x: right - 10, y: Math.min(line, bottom - 3), "text-anchor": "end" };
    add("text", { ...place, class: number.part }, layer).textContent = text;
    free = line + 14;
  }
}

/** @param {HTMLElement} section of one experiment, whose outcome is being looked at */
function reveal(section) {
  const name = section.dataset.experiment;
  if (!isRevealed(name)) state.revealed.push(name);
  keep();
  section.classList.add("revealed");
  section.querySelector("figure.sketch")?.classList.remove("open");
  for (const control of section.querySelectorAll(".predictions input, .predictions button")) control.disabled = true;
  for (const figure of section.querySelectorAll("figure[data-figure]")) drawInto(figure);
  status(name, isPredicted(name) ? "Your prediction is fixed now and drawn beside the outcome." : "You looked without a prediction.");
  showScores();
}

/** @param {string} name of an experiment @param {string} text */
function status(name, text) {
  const line = document.querySelector(`[data-status="${name}"]`);
  if (line) line.textContent = text;
}

/** @param {HTMLElement} section of one experiment */
function setUpOutcome(section) {
  const name = section.dataset.experiment;
  let warned = false;
  for (const fold of section.querySelectorAll("details.outcome")) {
    fold.querySelector("summary").addEventListener("click", (event) => {
      const asked = section.querySelector(".predictions");
      if (!asked || fold.open || isRevealed(name)) return;
      if (!isPredicted(name) && !warned) {
        event.preventDefault();
        warned = true;
        status(name, "No prediction yet. Draw a curve or write a number first; or click again to look without one.");
        asked.scrollIntoView({ block: "nearest" });
      }
    });
    fold.addEventListener("toggle", () => fold.open && reveal(section));
  }
  if (isRevealed(name)) reveal(section);
}

// ---- scores

/** @param {number | Drawn} guess @param {number | number[]} outcome @param {number} allowed @returns {number} 0 to 10 */
function points(guess, outcome, allowed) {
  const pairs = Array.isArray(outcome) ? outcome.map((value, place) => [guess[place], value]) : [[guess, outcome]];
  const shares = pairs.map(([one, value]) => (one === null ? 0 : Math.max(0, 1 - Math.abs(one - value) / allowed)));
  return Math.floor((10 * shares.reduce((sum, share) => sum + share, 0)) / shares.length + 0.5);
}

function showScores() {
  const rows = document.getElementById("scores");
  rows.replaceChildren();
  let [sum, predicted, asked, experiment] = [0, 0, 0, ""];
  const order = [...titles.keys()];
  const all = [...lesson.numbers, ...lesson.curves].filter((question) => isRevealed(question.experiment));
  for (const question of all.sort((one, other) => order.indexOf(one.experiment) - order.indexOf(other.experiment))) {
    if (question.experiment !== experiment) {
      experiment = question.experiment;
      const title = document.createElement("th");
      Object.assign(title, { colSpan: 5, scope: "rowgroup", textContent: titles.get(experiment) });
      rows.insertRow().append(title);
    }
    asked++;
    const guess = state.answers[question.key];
    const curve = Array.isArray(question.outcome);
    const cells = [`${question.text}${curve ? ", curve" : ""}`];
    if (guess === undefined) {
      cells.push("–", curve ? "see the figure" : written(question.outcome, question.unit), "–", "–");
    } else {
      const score = points(guess, question.outcome, question.allowed);
      const misses = curve ? question.outcome.flatMap((value, place) => (guess[place] === null ? [] : Math.abs(guess[place] - value))) : [Math.abs(guess - question.outcome)];
      const miss = misses.reduce((total, one) => total + one, 0) / Math.max(misses.length, 1);
      cells.push(...(curve ? ["drawn", "see the figure"] : [guess, question.outcome].map((one) => written(one, question.unit))));
      cells.push(`${written(miss, question.unit)}${curve ? " on average" : ""}`, String(score));
      sum += score;
      predicted++;
    }
    const row = rows.insertRow();
    for (const text of cells) row.insertCell().textContent = text;
  }
  document.getElementById("total").textContent = predicted
    ? `${sum} of ${10 * predicted} points for ${predicted} of ${asked} predictions.`
    : "Nothing to score yet: predict, then show the outcome.";
}

// ---- the file

function exportFile() {
  const line = document.getElementById("export-status");
  if (!Object.keys(state.answers).length) {
    line.textContent = "There is no prediction to save yet.";
    return;
  }
  const { report, data_source, settings, points: places, numbers, curves } = lesson;
  const file = {
    format: "breaknet predictions", schema: 1, student: state.student, exported: new Date().toISOString(),
    report: { id: report, data_source, settings }, points: places, predictions: state.answers,
    outcome: Object.fromEntries([...numbers, ...curves].map(({ key, outcome }) => [key, outcome])),
    axes: Object.fromEntries(curves.map(({ key, x }) => [key, x])),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(file)}\n`], { type: "application/json" }));
  link.download = `predictions-${state.student.trim().replace(/[^\p{L}\p{N}]+/gu, "-") || "without-name"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  line.textContent = `Saved as ${link.download}.`;
}

document.documentElement.classList.add("scripted");
for (const field of document.querySelectorAll("[data-number]")) field.disabled = false;
lesson.numbers.forEach(setUpNumber);
document.querySelectorAll("figure.sketch").forEach(setUpSketch);
document.querySelectorAll("section[data-experiment]").forEach(setUpOutcome);
showScores();

const student = /** @type {HTMLInputElement} */ (document.getElementById("student"));
student.value = state.student;
student.addEventListener("input", () => {
  state.student = student.value;
  keep();
});
document.getElementById("export").addEventListener("click", exportFile);
document.getElementById("restart").addEventListener("click", () => {
  if (!confirm("Erase all predictions in this page and start again?")) return;
  Object.assign(state, { revealed: [], answers: {} });
  keep();
  location.reload();
});
