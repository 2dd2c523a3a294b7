// @ts-check
/**
 * The page of `breaknet play`, and the widget of `breaknet.play()`: knobs, curves, pictures, a board to draw on.
 * The browser writes one value, `wanted`; Python writes all others (see session.py for what each holds).
 *
 * @typedef {{get(name: string): any, set(name: string, value: any): void, save_changes(): void,
 *   on(name: string, call: () => void): void}} Model  what anywidget gives, and Socket below
 * @typedef {{name: string, low: number, high: number, typical: number, whole: boolean, log: boolean}} Knob
 * @typedef {{name: string, part: string, values: number[], seed?: number | null}} Step
 * @typedef {{name: string, part: string, lesson: string, parameters: Knob[]}} Breakage
 * @typedef {{label: string, kind: string, values: (number | null)[]}} Line  values evenly spread over the epochs
 * @typedef {Record<string, any>} Run  a snapshot of session.py
 */

const SIDE = 28, DRAWN = 56, GUESSES = 21;
/** @type {Record<string, string>} */ const LABELS = {
  examples: "training examples", epochs: "epochs", learning_rate: "learning rate", batch_size: "examples per step",
  hidden1: "units in hidden layer 1", hidden2: "units in hidden layer 2", fraction: "share", amount: "strength", size: "size, pixels",
  true: "true class", given: "label given", distinct: "different examples", count: "examples kept", right: "right, pixels",
  down: "down, pixels", ratio: "most to fewest" };
const GROUPS = { "The network": ["hidden1", "hidden2", "seed"], "Training": ["learning_rate", "batch_size", "epochs"] };
const SLOTS = ["Current", "Pinned A", "Pinned B"];
const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (named on...) and children; null is left out.
 * @param {string} tag @param {Record<string, any>} [given] @param {...(Node | string | null)} inside @returns {any} */
function make(tag, given = {}, ...inside) {
  const svg = ["svg", "g", "path", "line", "text", "rect"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(given))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  element.append(...inside.filter((child) => child !== null));
  return element;
}

/** @param {number} value @param {number} [digits] */
const shown = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
/** @param {number} value  a share of 1 */ const percent = (value) => `${(100 * value).toFixed(1)} %`;

/** A 28 x 28 picture. @param {string} text @param {string} label @param {boolean} [signed] */
function picture(text, label, signed = false) {
  const canvas = make("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": label, class: "bn-image" });
  const context = canvas.getContext("2d"), pixels = context.createImageData(SIDE, SIDE);
  [...atob(text)].map((one) => one.charCodeAt(0)).forEach((value, place) => {
    let colour = [value, value, value];
    if (signed) { // from blue over white to orange
      const share = (value - 128) / 127, end = share < 0 ? [0, 92, 175] : [213, 84, 0];
      colour = end.map((part) => 247 + (part - 247) * Math.min(1, Math.abs(share)));
    }
    pixels.data.set([...colour, 255], 4 * place);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** A plot of lines over epochs: axes with units, a legend, values by mouse and arrow keys, a guess drawn into it. */
class Plot {
  /** @param {string} title @param {string} unit @param {boolean} share  whether values are shares of 1 */
  constructor(title, unit, share) {
    this.title = title; this.unit = unit; this.share = share; this.epochs = 1; this.cursor = -1;
    /** @type {Line[]} */ this.lines = [];
    /** @type {((index: number, value: number, relative: boolean) => void) | null} */ this.onguess = null;
    this.svg = make("svg", {
      viewBox: "0 0 380 230", class: "bn-plot", role: "img", tabindex: 0,
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
      onpointermove: (/** @type {PointerEvent} */ event) => this.point(event, event.buttons > 0),
      onpointerdown: (/** @type {PointerEvent} */ event) => this.point(event, true),
    });
    this.readout = make("output", { class: "bn-readout", "aria-live": "polite" });
    this.legend = make("ul", { class: "bn-legend" });
    this.element = make("figure", {}, make("figcaption", {}, title), this.legend, this.svg, this.readout);
  }
  /** @param {Line[]} lines @param {number} epochs */ draw(lines, epochs) {
    this.lines = lines; this.epochs = epochs;
    const last = Math.max(1, epochs - 1), most = Math.max(0.1, ...lines.flatMap((line) => line.values.map(Number)));
    const top = this.share ? 1 : most * 1.05;
    const x = (/** @type {number} */ share) => 48 + 322 * share, y = (/** @type {number} */ v) => 190 - 178 * v / top;
    const parts = [], step = this.share ? 0.2 : nice(top / 5);
    for (let value = 0; value <= top + 1e-9; value += step) {
      parts.push(make("line", { x1: 48, x2: 370, y1: y(value), y2: y(value), class: "bn-grid" }));
      const label = this.share ? Math.round(100 * value) : shown(value, 2);
      parts.push(make("text", { x: 43, y: y(value) + 4, "text-anchor": "end" }, String(label)));
    }
    for (let epoch = 0; epoch <= last; epoch += Math.max(1, nice(last / 5)))
      parts.push(make("text", { x: x(epoch / last), y: 206, "text-anchor": "middle" }, shown(epoch, 4)));
    parts.push(make("text", { x: 209, y: 225, "text-anchor": "middle" }, "epoch"));
    parts.push(make("text", { x: 12, y: 101, "text-anchor": "middle", transform: "rotate(-90 12 101)" }, this.unit));
    for (const { kind, values } of lines) {
      const all = kind === "bn-guess" || kind === "bn-chance" ? values.length - 1 : last;
      const path = values.map((value, at) => (value === null ? "" : `${at && values[at - 1] !== null ? "L" : "M"}${
        x(at / all).toFixed(1)} ${y(Math.min(value, top)).toFixed(1)}`)).join("") + (values.length === 1 ? "h3" : "");
      parts.push(make("path", { d: path, class: `bn-line ${kind}` }));
    }
    this.mark = make("line", { x1: -9, x2: -9, y1: 12, y2: 190, class: "bn-cursor" });
    this.svg.replaceChildren(...parts, this.mark);
    this.legend.replaceChildren(...lines.map((line) => make("li", {},
      make("svg", { viewBox: "0 0 26 8", class: "bn-key", "aria-hidden": "true" },
        make("path", { d: "M1 4H25", class: `bn-line ${line.kind}` })), line.label)));
    if (this.cursor >= 0) this.read(this.cursor);
    const ends = lines.map((line) => `${line.label} ${this.text(line.values.at(-1) ?? null)}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, ${epochs} epochs. At the end: ${ends}. Arrow keys read values.`);
  }
  /** @param {number | null} value */
  text(value) { return value === null ? "nothing" : this.share ? percent(value) : shown(value, 4); }
  /** @param {number} share  of the way from the first epoch to the last */ read(share) {
    this.cursor = Math.min(1, Math.max(0, share));
    const last = Math.max(1, this.epochs - 1), epoch = Math.round(this.cursor * last);
    const at = 48 + 322 * epoch / last;
    for (const end of ["x1", "x2"]) this.mark?.setAttribute(end, String(at));
    const values = this.lines.filter((line) => line.kind !== "bn-chance").map((line) => {
      const all = line.kind === "bn-guess" ? line.values.length - 1 : last;
      return `${line.label} ${this.text(line.values[Math.round(epoch / last * all)] ?? null)}`;
    });
    this.readout.textContent = `epoch ${epoch}: ${values.join(", ")}`;
  }
  /** @param {KeyboardEvent} event */ key(event) {
    const step = 1 / (this.onguess ? GUESSES - 1 : Math.max(1, this.epochs - 1));
    const across = { ArrowLeft: -step, ArrowRight: step, Home: -1, End: 1 }[event.key];
    const up = this.onguess ? { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key] : undefined;
    if (across !== undefined) this.read(this.cursor < 0 ? 0 : this.cursor + across);
    if (up !== undefined) this.onguess?.(Math.round(Math.max(0, this.cursor) * (GUESSES - 1)), up, true);
    if (across !== undefined || up !== undefined) event.preventDefault();
  }
  /** @param {PointerEvent} event @param {boolean} pressed */ point(event, pressed) {
    const box = this.svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * 380 - 48) / 322;
    const height = (190 - (event.clientY - box.top) / box.height * 230) / 178;
    if (this.onguess && pressed) this.onguess(Math.round(clip(share) * (GUESSES - 1)), clip(height), false);
    this.read(share);
  }
}

/** @param {number} value */ const clip = (value) => Math.min(1, Math.max(0, value));
/** The next number 1, 2 or 5 times a power of ten. @param {number} rough */ function nice(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((one) => one * power >= rough * 0.999) ?? 10) * power;
}

/** A slider and a number for one value. @param {Knob} knob @param {number} value @param {(v: number) => void} changed */
function slider(knob, value, changed) {
  const step = knob.whole ? 1 : knob.high - knob.low <= 2 ? 0.01 : 1;
  const ratio = Math.log(knob.high / knob.low);
  const place = (/** @type {number} */ v) => (knob.log ? 1000 * Math.log(v / knob.low) / ratio : v);
  const range = make("input", knob.log ? { type: "range", min: 0, max: 1000, step: 5 }
    : { type: "range", min: knob.low, max: knob.high, step });
  const number = make("input", { type: "number", min: knob.low, max: knob.high, step: knob.whole ? 1 : "any" });
  const name = LABELS[knob.name] ?? knob.name;
  Object.assign(range, { value: place(value), name: knob.name, ariaLabel: name, ariaValueText: value });
  number.value = String(value);
  range.addEventListener("input", () => {
    let found = knob.log ? Number((knob.low * Math.exp(range.value / 1000 * ratio)).toPrecision(2)) : Number(range.value);
    found = Math.min(knob.high, Math.max(knob.low, knob.whole ? Math.round(found) : found));
    number.value = range.ariaValueText = String(found);
    changed(found);
  });
  number.addEventListener("change", () => { // whatever it is: the server says what is allowed
    range.value = String(place(Number(number.value))); changed(Number(number.value));
  });
  return make("label", { class: "bn-knob" }, make("span", {}, name), number, range);
}

/** A run in words. @param {Record<string, any>} settings */
const described = (settings) => `${settings.breakage || "nothing broken"} · ${shown(settings.examples, 6)} examples · `
  + `${shown(settings.epochs, 6)} epochs · rate ${settings.learning_rate} · steps of ${settings.batch_size} · `
  + `784-${settings.hidden1}-${settings.hidden2}-10 · seed ${settings.seed}`;

/** Everything of one run, in a column. */ class Column {
  /** @param {Play} play @param {number} slot */ constructor(play, slot) {
    this.play = play; this.slot = slot;
    this.cost = new Plot("Cost", "cost per example", false);
    this.accuracy = new Plot("Accuracy", "accuracy, %", true);
    this.head = make("header", {});
    this.rest = make("div", {});
    this.element = make("section", { class: "bn-run", "aria-label": SLOTS[slot] }, this.head, this.accuracy.element,
      this.cost.element, this.rest);
  }
  /** @param {Run | undefined} run @param {Run[]} others @param {boolean} old  whether it is not what is asked for */
  show(run, others, old) {
    const { play, slot } = this, hidden = slot === 0 && play.hidden;
    this.element.classList.toggle("bn-old", old);
    if (!run) {
      this.head.replaceChildren(make("h2", {}, SLOTS[slot]), make("p", {}, "waiting for the first epochs"));
      return;
    }
    const curves = hidden ? { train_cost: [], valid_cost: [], train_accuracy: [], valid_accuracy: [] } : run.curves;
    const lines = (/** @type {string} */ what) => [
      { label: "training", kind: "bn-train", values: curves[`train_${what}`] },
      { label: "validation", kind: "bn-valid", values: curves[`valid_${what}`] },
      ...(hidden ? [] : others).map((other) => ({ label: `${other.slot}: validation`, kind: `bn-pin${other.number}`,
        values: other.curves[`valid_${what}`].slice(0, run.epochs) })),
    ];
    const guess = slot === 0 && play.guess.some((one) => one !== null)
      ? [{ label: "your guess", kind: "bn-guess", values: play.guess }] : [];
    const chance = { label: "chance, 10 %", kind: "bn-chance", values: [0.1, 0.1] };
    this.accuracy.onguess = hidden ? (index, value, relative) => play.guessed(index, value, relative) : null;
    this.accuracy.draw([...lines("accuracy"), ...guess, chance], run.epochs);
    this.cost.draw(lines("cost"), run.epochs);
    const last = run.curves.valid_accuracy.at(-1);
    const what = make("p", { class: "bn-what" }, described(run.settings));
    if (hidden && this.head.contains(play.box)) this.head.querySelector(".bn-what").replaceWith(what);
    else this.head.replaceChildren(...make("div", {}, make("h2", {}, SLOTS[slot]), what,
      hidden ? play.box : make("p", { class: "bn-number" },
        make("strong", { "data-accuracy": last ?? "" }, last === undefined ? "no epoch" : percent(last)),
        ` of ${shown(run.counts[1], 6)} validation digits right; training `,
        run.done ? percent(run.curves.train_accuracy.at(-1)) : "-", ` of ${shown(run.counts[0], 6)}`),
      slot === 0 && play.said && !hidden ? make("p", {}, `Your guess in words: ${play.said}`) : null,
      (run.diverged_at ?? run.stuck_at) === null || hidden ? null : make("p", { class: "bn-alarm" }, run.diverged_at !== null
        ? `Diverged at the end of epoch ${run.diverged_at}.` : `Learned nothing from epoch ${run.stuck_at} on: saturated.`),
      slot > 0 ? make("p", {}, make("button", { type: "button", onclick: () => play.unpin(slot - 1) }, "Unpin"), " ",
        make("button", { type: "button", onclick: () => play.adopt(run.link) }, "Go back to these")) : null).childNodes);
    this.rest.replaceChildren(...(hidden || !run.confusion ? [] : pictures(run)), examples(run));
  }
}

/** What there is to see of a network. @param {Run} run @returns {Node[]} */ function pictures(run) {
  const most = Math.max(1, ...run.confusion.flat());
  const digits = [...Array(10).keys()];
  const cell = (/** @type {number} */ count, /** @type {boolean} */ right) => {
    const td = make("td", { class: right ? "bn-right" : "" }, count ? String(count) : "·");
    td.style.setProperty("--share", `${Math.round(100 * Math.sqrt(count / most))}%`);
    return td;
  };
  const confusion = make("table", { class: "bn-confusion", tabindex: 0 },
    make("caption", {}, "Confusion table: validation digits by true label (rows) and answer (columns)"),
    make("thead", {}, make("tr", {}, make("th", {}, "true"), ...digits.map((d) => make("th", { scope: "col" }, `${d}`)))),
    make("tbody", {}, ...digits.map((row) => make("tr", {}, make("th", { scope: "row" }, `${row}`),
      ...digits.map((column) => cell(run.confusion[row][column], row === column))))));
  const { images, largest } = run.weights;
  return [confusion,
    gallery("bn-weights", `What hidden unit 1 to ${images.length} looks at`, make("p", { class: "bn-scale" }, "its weights: ",
      make("span", { class: "bn-ramp" }), ` ${shown(-largest, 2)} to ${shown(largest, 2)}, white is 0`),
    images.map((/** @type {string} */ text, /** @type {number} */ unit) =>
      [picture(text, `weights of hidden unit ${unit + 1}`, true), `${unit + 1}`])),
    gallery("bn-wrong", "Most confidently wrong", make("p", { class: "bn-scale" },
      run.wrong.length ? "true label, answer, its output (0 to 1)" : "none is wrong"),
    run.wrong.map((/** @type {Run} */ one) => [picture(one.image, `a ${one.label} called ${one.predicted}`),
      `${one.label} called `, make("b", {}, `${one.predicted}`), ` ${one.output.toFixed(2)}`]))];
}

/** Training examples with the labels that they were given. @param {Run} run */
const examples = (run) => gallery("bn-examples", "Training examples, with the labels they were given", null,
  run.examples.map((/** @type {Run} */ one) => [picture(one.image, `labelled ${one.label}`), one.true === null
    || one.true === one.label ? `${one.label}` : make("b", { class: "bn-alarm" }, `${one.label} (is ${one.true})`)]));

/** Pictures with captions. @param {string} kind @param {string} title @param {Node | null} note @param {Node[][]} inside */
const gallery = (kind, title, note, inside) => make("div", {}, make("h3", {}, title), note,
  make("div", { class: `bn-images ${kind}` }, ...inside.map(([image, ...caption]) =>
    make("figure", {}, image, make("figcaption", {}, ...caption)))));

/** A board to draw a digit on, with mouse, finger or keys; `onchange` gets base64 of DRAWN x DRAWN bytes, or "". */
class Board {
  /** @param {(drawing: string) => void} onchange */ constructor(onchange) {
    this.onchange = onchange; this.waiting = false; this.pen = { x: 140, y: 140, down: false };
    this.canvas = make("canvas", {
      width: 280, height: 280, class: "bn-board", tabindex: 0, role: "application",
      "aria-label": "A board to draw a digit on. Arrow keys move the pen, the space bar lowers or lifts it, Delete clears.",
      onpointerdown: (/** @type {PointerEvent} */ event) => this.stroke(event, true),
      onpointermove: (/** @type {PointerEvent} */ event) => { if (event.buttons) this.stroke(event, false); },
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.clear(false);
  }
  /** @param {boolean} [tell] */ clear(tell = true) {
    this.context.fillRect(0, 0, 280, 280); if (tell) this.onchange("");
  }
  /** @param {PointerEvent} event @param {boolean} first */ stroke(event, first) {
    const box = this.canvas.getBoundingClientRect();
    if (first) this.canvas.setPointerCapture(event.pointerId);
    const to = { x: (event.clientX - box.left) / box.width * 280, y: (event.clientY - box.top) / box.height * 280 };
    this.line(first ? to : this.pen, to);
  }
  /** @param {{x: number, y: number}} from @param {{x: number, y: number}} to */ line(from, to) {
    Object.assign(this.context, { strokeStyle: "#fff", lineWidth: 24, lineCap: "round", lineJoin: "round" });
    this.context.stroke(new Path2D(`M${from.x} ${from.y}L${to.x + 0.01} ${to.y}`));
    Object.assign(this.pen, { x: to.x, y: to.y });
    if (!this.waiting) setTimeout(() => { this.waiting = false; this.onchange(this.drawing()); }, 60);
    this.waiting = true;
  }
  /** @param {KeyboardEvent} event */ key(event) {
    const { pen } = this, ways = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10], " ": [0, 0] };
    if (event.key === "Delete") this.clear();
    const way = /** @type {Record<string, number[]>} */ (ways)[event.key];
    if (!way) return;
    event.preventDefault();
    if (event.key === " ") pen.down = !pen.down;
    const to = { x: Math.min(268, Math.max(12, pen.x + way[0])), y: Math.min(268, Math.max(12, pen.y + way[1])) };
    if (pen.down) this.line(pen, to);
    Object.assign(pen, to);
  }
  drawing() {
    const small = make("canvas", { width: DRAWN, height: DRAWN }), context = small.getContext("2d");
    context.drawImage(this.canvas, 0, 0, DRAWN, DRAWN);
    const pixels = context.getImageData(0, 0, DRAWN, DRAWN).data;
    return btoa([...Array(DRAWN * DRAWN).keys()].map((place) => String.fromCharCode(pixels[4 * place])).join(""));
  }
}

/** The whole page. */
class Play {
  /** @param {Model} model @param {HTMLElement} root */ constructor(model, root) {
    this.model = model; this.root = root;
    /** @type {Step[]} */ this.steps = [];
    /** @type {Record<string, number>} */ this.numbers = {};
    /** @type {(number | null)[]} */ this.guess = Array(GUESSES).fill(null);
    const start = new URLSearchParams(model.get("start") || "");
    this.pins = start.getAll("pin").slice(0, 2); this.said = start.get("said") ?? ""; this.box = this.prediction();
    (start.get("guess") ?? "").split(",").forEach((text, place) => {
      if (text !== "" && place < GUESSES && Number.isFinite(Number(text))) this.guess[place] = clip(Number(text) / 100);
    });
    for (const name of ["pin", "guess", "said"]) start.delete(name);
    this.link = start.toString(); this.drawing = ""; this.note = "";
    this.adopting = true; // until the knobs stand as the link says
    this.hidden = false; // the outcome, while it is being predicted
    this.status = make("p", { role: "status", class: "bn-status" });
    this.knobs = make("form", { class: "bn-knobs", onsubmit: (/** @type {Event} */ event) => event.preventDefault() });
    this.columns = [new Column(this, 0)];
    this.runs = make("div", { class: "bn-runs" }, this.columns[0].element);
    this.board = new Board((drawing) => { this.drawing = drawing; this.send(); });
    this.outputs = make("div", { class: "bn-outputs" });
    this.python = make("pre", { tabindex: 0 });
    this.predict = make("input", { type: "checkbox", name: "predict" });
    root.classList.add("bn");
    root.replaceChildren(make("header", { class: "bn-top" }, make("h1", {}, "Break it live"), this.status),
      make("div", { class: "bn-main" }, this.knobs, this.runs), make("section", { class: "bn-draw", "aria-label": "Draw a digit" },
        make("h2", {}, "Draw a digit"), make("div", {}, this.board.canvas,
          make("p", {}, make("button", { type: "button", onclick: () => this.board.clear() }, "Clear"))), this.outputs),
      this.keepSection());
    // a notebook takes arrow keys for its cells
    root.addEventListener("keydown", (event) => event.stopPropagation());
    for (const [name, call] of /** @type {[string, () => void][]} */ ([["knobs", () => this.build()],
      ["asked", () => this.asked()], ["runs", () => this.show()], ["status", () => this.tell()],
      ["drawn", () => this.showOutputs()]])) {
      model.on(`change:${name}`, call);
      call();
    }
    this.send();
  }
  send() {
    this.model.set("wanted", { link: this.link, pins: this.pins, drawing: this.drawing });
    this.model.save_changes();
  }
  /** Take a link's settings; the knobs follow once they are understood. @param {string} link */
  adopt(link) { this.link = link; this.adopting = true; this.changed(); }
  changed() {
    Object.assign(this, { hidden: this.predict.checked, said: "", guess: Array(GUESSES).fill(null), note: "" });
    this.box = this.prediction(); this.send();
  }
  /** A knob was turned. */ turned() {
    const steps = this.steps.map(({ part, name, values, seed }) =>
      `${part}:${name}(${[...values, ...((seed ?? null) === null ? [] : [`seed=${seed}`])].join(", ")})`);
    const given = Object.entries(this.numbers).map(([name, value]) => [name, String(value)]);
    this.link = new URLSearchParams([["break", steps.join(" + ")], ...given]).toString();
    this.adopting = false; this.changed();
  }
  asked() {
    const asked = this.model.get("asked");
    if (!asked) return;
    if (this.adopting) {
      this.adopting = false; this.steps = asked.settings.steps; this.pins = asked.pins;
      for (const knob of this.model.get("knobs").numbers) this.numbers[knob.name] = asked.settings[knob.name];
      this.build();
    }
    this.python.textContent = asked.python;
    this.address(); this.show();
  }
  /** The link to what is shown, which is also the page's address. */ address() {
    const parameters = new URLSearchParams(this.model.get("asked")?.link ?? this.link);
    for (const pin of this.model.get("asked")?.pins ?? this.pins) parameters.append("pin", pin);
    if (this.guess.some((one) => one !== null) && !this.hidden)
      parameters.set("guess", this.guess.map((one) => (one === null ? "" : Math.round(100 * one))).join(","));
    if (this.said && !this.hidden) parameters.set("said", this.said);
    const query = parameters.toString();
    clearTimeout(this.later); // browsers bound how often an address may change
    if (this.model instanceof Socket)
      this.later = setTimeout(() => history.replaceState(null, "", query ? `?${query}` : location.pathname), 100);
    return query;
  }
  tell() {
    const status = this.model.get("status") ?? { phase: "loading", text: "connecting" };
    if (status.phase === "error" && this.adopting && !this.model.get("asked")) { // a refused link: the page stands
      Object.assign(this, { note: status.text, link: "", pins: [] }); this.send();
    }
    const words = { loading: "Loading: ", training: "Training: ", done: "Trained: ", error: "Refused: ",
      failed: "Failed: ", ready: "" }[/** @type {string} */ (status.phase)] ?? "";
    this.status.dataset.phase = status.phase;
    const last = this.hidden ? undefined : this.last?.curves.valid_accuracy.at(-1);
    this.status.textContent = (this.note ? `Refused: ${this.note} · ` : "") + words + status.text
      + (status.phase === "done" && last !== undefined ? ` · validation accuracy ${percent(last)}` : "");
  }
  /** The knobs, from what Python says there is. */ build() {
    const known = this.model.get("knobs");
    if (!known || !Object.keys(this.numbers).length) return;
    const active = /** @type {any} */ (this.root.getRootNode()).activeElement, inside = this.knobs.contains(active);
    const number = (/** @type {string} */ name) => slider(known.numbers.find((/** @type {Knob} */ k) => k.name === name),
      this.numbers[name], (value) => { this.numbers[name] = value; this.turned(); });
    const question = make("p", { class: "bn-question" });
    const story = make("select", { name: "story", onchange: () => {
      const chosen = known.stories[story.selectedIndex - 1];
      this.question = chosen;
      if (chosen) this.adopt(chosen.link);
    } }, make("option", {}, "choose one ..."), ...known.stories.map((/** @type {Run} */ one) => make("option", {}, one.name)));
    story.selectedIndex = 1 + known.stories.indexOf(this.question);
    question.textContent = this.question?.question ?? "";
    const add = make("select", { name: "add", onchange: () => {
      const breakage = known.breakages[add.selectedIndex - 1];
      if (!breakage) return;
      this.steps.push({ ...breakage, values: breakage.parameters.map((/** @type {Knob} */ one) => one.typical) });
      this.turned(); this.build();
    }, onkeydown: (/** @type {KeyboardEvent} */ event) => { // else the first arrow key would choose already
      if (!/^Arrow/.test(event.key) || !add.showPicker) return;
      try { add.showPicker(); event.preventDefault(); } catch { /* a frame that may not */ }
    } }, make("option", {}, "add ..."), ...known.breakages.map((/** @type {Breakage} */ one) => make("option", {}, one.name)));
    this.knobs.replaceChildren(
      make("fieldset", {}, make("legend", {}, "A story"), make("label", {}, make("span", {}, "story"), story), question,
        make("label", { class: "bn-check" }, this.predict, " predict first: hide the outcome of every change")),
      make("fieldset", {}, make("legend", {}, `The data (${known.source})`),
        ...this.steps.map((step, place) => this.stepKnobs(known, step, place)),
        make("label", {}, make("span", {}, "break them in one more way"), add), number("examples")),
      ...Object.entries(GROUPS).map(([title, names]) => make("fieldset", {}, make("legend", {}, title), ...names.map(number))),
      make("p", {}, make("button", { type: "button", name: "pin", onclick: () => this.pin() }, "Pin these settings")));
    if (inside) (this.knobs.querySelector(`[name="${active.name}"]`) ?? add).focus({ preventScroll: true });
  }
  /** @param {any} known @param {Step} step @param {number} place */ stepKnobs(known, step, place) {
    const breakage = known.breakages.find((/** @type {Breakage} */ one) => one.name === step.name);
    const part = make("select", { "aria-label": "which data", onchange: () => { step.part = part.value; this.turned(); } },
      ...[["train", "training data"], ["valid", "validation data"], ["both", "both"]].map(([value, text]) =>
        make("option", { value, selected: value === step.part }, text)));
    const again = (/** @type {() => void} */ change) => () => { change(); this.turned(); this.build(); };
    return make("fieldset", { class: "bn-step", title: breakage.lesson }, make("legend", {}, step.name.replaceAll("_", " ")),
      ...breakage.parameters.map((/** @type {Knob} */ knob, /** @type {number} */ index) =>
        slider(knob, step.values[index], (value) => { step.values[index] = value; this.turned(); })),
      make("div", { class: "bn-tools" }, part,
        place ? make("button", { type: "button", "aria-label": `apply ${step.name} earlier`, onclick: again(() => {
          this.steps.splice(place - 1, 2, step, this.steps[place - 1]);
        }) }, "earlier") : null,
        make("button", { type: "button", "aria-label": `remove ${step.name}`,
          onclick: again(() => { this.steps.splice(place, 1); }) }, "remove")));
  }
  pin() {
    const link = this.model.get("asked").link;
    if (!this.pins.includes(link)) { this.pins = [...this.pins, link].slice(-2); this.send(); }
  }
  /** @param {number} place */
  unpin(place) {
    this.pins = this.pins.filter((_, other) => other !== place); this.send();
    this.knobs.querySelector('[name="pin"]')?.focus({ preventScroll: true });
  }
  /** @param {number} place @param {number} value @param {boolean} relative */ guessed(place, value, relative) {
    this.guess[place] = clip(relative ? (this.guess[place] ?? 0.5) + value : value);
    const known = this.guess.flatMap((one, at) => (one === null ? [] : [at])); // straight lines between what was drawn
    for (let pair = 1; pair < known.length; pair++) {
      const [from, to] = [known[pair - 1], known[pair]];
      for (let at = from + 1; at < to && (to === place || from === place); at++)
        this.guess[at] = Number(this.guess[from]) + (Number(this.guess[to]) - Number(this.guess[from])) * (at - from) / (to - from);
    }
    this.show();
  }
  /** What stands in the place of a hidden outcome. */ prediction() {
    const words = make("input", { type: "text", name: "said", maxlength: 200, value: this.said,
      onchange: () => { this.said = words.value; } });
    return make("div", { class: "bn-predict" }, make("p", {}, "The outcome is hidden. Draw the validation accuracy you "
      + "expect into the plot (or use its arrow keys), or write it."),
      make("label", {}, make("span", {}, "I expect"), words),
      make("button", { type: "button", name: "reveal", onclick: () => {
        this.said = words.value; this.hidden = false; this.address(); this.show(); this.tell();
        this.columns[0].accuracy.svg.focus({ preventScroll: true });
      } }, "Show the outcome"));
  }
  show() {
    const asked = this.model.get("asked"), runs = this.model.get("runs") ?? [];
    if (!asked) return;
    const shown_ = [asked.link, ...asked.pins].map((link) => runs.find((/** @type {Run} */ run) => run.link === link));
    while (this.columns.length < shown_.length) this.columns.push(new Column(this, this.columns.length));
    const columns = this.columns.slice(0, shown_.length);
    if (this.runs.children.length !== columns.length) this.runs.replaceChildren(...columns.map((one) => one.element));
    this.last = shown_[0] ?? this.last;
    const pinned = shown_.flatMap((run, slot) => (slot && run ? [{ ...run, slot: SLOTS[slot], number: slot }] : []));
    columns.forEach((column, slot) => column.show(slot ? shown_[slot] : this.last, slot ? [] : pinned, !slot && !shown_[0]));
    this.columns.length = columns.length;
  }
  showOutputs() {
    const drawn = this.model.get("drawn"), asked = this.model.get("asked");
    if (!drawn || !asked) return this.outputs.replaceChildren(make("p", {}, "With mouse, finger or arrow keys (space lowers "
      + "the pen): all ten outputs of the current network and of the pinned ones stand here then."));
    const names = drawn.links.map((/** @type {string} */ link) => SLOTS[[asked.link, ...asked.pins].indexOf(link)] ?? "");
    const rows = [...Array(10).keys()].map((digit) => make("tr", {}, make("th", { scope: "row" }, `${digit}`),
      ...drawn.outputs.map((/** @type {number[] | null} */ outputs) => {
        const value = outputs?.[digit] ?? 0, best = outputs && value === Math.max(...outputs);
        const bar = make("span", { class: "bn-bar" });
        bar.style.width = `${Math.round(100 * value)}%`;
        return make("td", { class: best ? "bn-best" : "", "data-output": value }, bar, make("span", {}, value.toFixed(2)));
      })));
    this.outputs.replaceChildren(make("figure", {}, picture(drawn.image, "the drawing as the network sees it"),
      make("figcaption", {}, "as the network sees it")), make("table", {},
      make("caption", {}, "Outputs for your drawing, 0 to 1"),
      make("thead", {}, make("tr", {}, make("th", {}, "digit"), ...names.map((/** @type {string} */ name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows)));
  }
  keepSection() {
    const said = make("output", { "aria-live": "polite" });
    const button = (/** @type {string} */ text, /** @type {() => any} */ act) => make("button", { type: "button",
      onclick: async () => {
        try { said.textContent = await act(); } catch (error) { said.textContent = `Not saved: ${error}`; }
      } }, text);
    return make("section", { class: "bn-keep", "aria-label": "Keep" }, make("h2", {}, "Keep"), make("p", {},
      button("Copy link", async () => {
        const link = `${this.model instanceof Socket ? location.origin + location.pathname : ""}?${this.address()}`;
        return navigator.clipboard?.writeText(link).then(() => `copied: ${link}`, () => link) ?? link;
      }), " ",
      button("Save PNG", async () => save("breaknet-play.png", await photographed(this.runs))), " ",
      button("Save CSV", () => save("breaknet-play.csv", new Blob([csv(this.model.get("runs") ?? [])], { type: "text/csv" }))), " ",
      button("Save Python", () => save("breaknet_play.py", new Blob([this.python.textContent], { type: "text/x-python" })))),
    said, make("details", {}, make("summary", {}, "The Python lines that make the current run"), this.python));
  }
}

/** @param {string} name @param {Blob} blob */ function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return `saved: ${name}`;
}

/** The curves of all shown runs. @param {Run[]} runs */ function csv(runs) {
  const names = ["train_cost", "valid_cost", "train_accuracy", "valid_accuracy"];
  const rows = runs.flatMap((run, slot) => [...Array(run.done).keys()].map((epoch) =>
    [SLOTS[slot], `"${run.link}"`, epoch, ...names.map((name) => run.curves[name][epoch])].join(",")));
  return [`run,settings,epoch,${names.join(",")}`, ...rows, ""].join("\r\n");
}

/** A picture of an element as it stands, with the page's styles. @param {HTMLElement} shown_ @returns {Promise<Blob>} */
async function photographed(shown_) {
  const { width, height } = shown_.getBoundingClientRect(), image = new Image();
  const copy = /** @type {HTMLElement} */ (shown_.cloneNode(true)), around = make("div", { class: "bn" }, copy);
  const canvases = shown_.querySelectorAll("canvas");
  copy.querySelectorAll("canvas").forEach((canvas, place) =>
    canvas.replaceWith(make("img", { src: canvases[place].toDataURL(), class: canvas.className })));
  const sheets = [...document.styleSheets].filter((sheet) => !sheet.href || sheet.href.startsWith(location.origin))
    .flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText));
  const dark = getComputedStyle(shown_).color.match(/\d+/g)?.map(Number)[0] ?? 0;
  around.prepend(make("style", {}, sheets.filter((rule) => rule.includes(".bn")).join("\n")));
  around.style.cssText = `padding: 0; width: ${width}px; max-width: none; color-scheme: ${dark > 127 ? "dark" : "light"}`;
  const inside = new XMLSerializer().serializeToString(around);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(`<svg xmlns="${SVG}" width="${width}" height="${height}">`
    + `<foreignObject width="100%" height="100%">${inside}</foreignObject></svg>`)}`;
  await image.decode();
  const canvas = make("canvas", { width: 2 * width, height: 2 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
  return new Promise((resolve, reject) => canvas.toBlob((/** @type {Blob | null} */ blob) =>
    (blob ? resolve(blob) : reject(new Error("this browser makes no picture"))), "image/png"));
}

/** What anywidget's model is in a notebook, over a WebSocket to this page's server; connects again when it is lost. */
class Socket {
  /** @type {Record<string, any>} */ values = { start: location.search.slice(1) };
  /** @type {Record<string, (() => void)[]>} */ calls = {};
  constructor() { this.connect(); }
  connect() {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    this.socket.addEventListener("open", () => this.save_changes());
    this.socket.addEventListener("message", (event) => {
      const given = JSON.parse(event.data); Object.assign(this.values, given);
      this.full = given.status?.phase === "failed";
      for (const name of ["knobs", "asked", "runs", "drawn", "status"])
        if (name in given) for (const call of this.calls[`change:${name}`] ?? []) call();
    });
    this.socket.addEventListener("close", () => {
      if (this.full) return;
      this.values.status = { phase: "failed", text: "the server is gone; this page waits for it" };
      for (const call of this.calls["change:status"] ?? []) call();
      setTimeout(() => this.connect(), 1000);
    });
  }
  /** @param {string} name */ get(name) { return this.values[name]; }
  /** @param {string} name @param {any} value */ set(name, value) { this.values[name] = value; }
  save_changes() {
    if (this.socket?.readyState === WebSocket.OPEN && this.values.wanted)
      this.socket.send(JSON.stringify(this.values.wanted));
  }
  /** @param {string} name @param {() => void} call */ on(name, call) { (this.calls[name] ??= []).push(call); }
}

/** anywidget's entry. @param {{model: Model, el: HTMLElement}} given */ function render({ model, el }) {
  const root = make("div", {}), follow = () => { // a light notebook in a dark system stays light
    const lab = document.body.dataset.jpThemeLight;
    if (lab !== undefined) root.style.colorScheme = lab === "true" ? "light" : "dark";
  };
  const watch = new MutationObserver(follow);
  watch.observe(document.body, { attributes: true });
  follow(); el.append(root);
  new Play(model, root);
  return () => watch.disconnect();
}

const page = document.getElementById("breaknet-play");
if (page) render({ model: new Socket(), el: page });

export default { render };
