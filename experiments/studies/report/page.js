"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const short = (value, digits = 3) =>
  value === null ? "-" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(parseFloat(value.toPrecision(digits)));

// Replays: everybody shows the same step, or the last one of an episode that is over by then.

function showReplays(place, replays) {
  const last = Math.max(...replays.map((replay) => replay.returns.length - 1));
  const players = replays.map(makePlayer);
  const button = make("button", { type: "button" });
  const slider = make("input", { type: "range", min: 0, max: last, value: 0, ariaLabel: "step" });
  const speeds = [1, 2, 4, 8, 16, 32].map((speed) => make("option", { value: speed, selected: speed === 8 }, `${speed} steps/s`));
  const speed = make("select", { ariaLabel: "speed" }, ...speeds);
  const counter = make("output");
  let step = 0;
  let timer = null;

  function show(next) {
    step = Math.min(Math.max(next, 0), last);
    slider.value = step;
    counter.textContent = `step ${step} of ${last}`;
    for (const player of players) player.show(step);
  }

  function play(on) {
    clearTimeout(timer);
    timer = on ? setTimeout(tick, 1000 / speed.value) : null;
    button.textContent = on ? "Pause" : "Play";
  }

  function tick() {
    show(step + 1);
    play(step < last);
  }

  function toggle() {
    if (timer === null && step === last) show(0);
    play(timer === null);
  }

  button.addEventListener("click", toggle);
  slider.addEventListener("input", () => show(Number(slider.value)));
  place.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === " " && event.target.tagName === "INPUT") toggle();
    else if (move && event.target === button) show(step + move);
    else return;
    event.preventDefault();
  });
  const keys = make("small", {}, "Space plays and pauses; the arrow keys go by one step.");
  const controls = make("div", { className: "controls" }, button, slider, counter, speed, keys);
  place.append(controls, make("div", { className: "players" }, ...players.map((player) => player.element)));
  play(false);
  show(0);
}

function makePlayer(replay) {
  const { width, height, every } = replay;
  const enlarged = Math.max(Math.floor(240 / Math.max(width, height)), 1);
  const canvas = make("canvas", { width, height, role: "img", ariaLabel: `game of ${replay.label}` });
  canvas.style.width = `${width * enlarged}px`;
  if (enlarged > 1) canvas.style.imageRendering = "pixelated";
  const context = canvas.getContext("2d");
  const sheets = replay.sheets.map((src) => make("img", { src }));
  const bars = replay.actions.map((name) => [make("span", {}, name), make("i"), make("b")]);
  const said = make("div");
  const end = replay.returns.length - 1;
  const [low, high] = [Math.min(...replay.values), Math.max(...replay.values)];
  const points = replay.values.map((value, at) => `${at},${high > low ? (100 * (high - value)) / (high - low) : 50}`);
  const soFar = drawn("polyline", { points: "" });
  const all = drawn("polyline", { points: points.join(" ") });
  const box = { class: "value", viewBox: `0 0 ${Math.max(end, 1)} 100`, preserveAspectRatio: "none" };
  const line = drawn("svg", { ...box, role: "img", "aria-label": "value estimate by step" }, all, soFar);
  let wanted = 0;
  let there = -1;

  // A sheet's first frame is whole; each later one has what changed.
  function paint() {
    const sheet = Math.floor(wanted / every);
    if (!sheets[sheet].complete) return;
    const begin = sheet * every;
    const from = there >= begin && there <= wanted ? there + 1 : begin;
    for (let frame = from; frame <= wanted; frame++) {
      context.drawImage(sheets[sheet], 0, (frame - begin) * height, width, height, 0, 0, width, height);
    }
    there = wanted;
  }
  for (const sheet of sheets) sheet.addEventListener("load", paint);

  function show(step) {
    wanted = Math.min(step, end);
    paint();
    said.textContent = `return ${short(replay.returns[wanted])} · value ${short(replay.values[wanted])}`;
    if (wanted === end) said.textContent += ` · ${replay.end}`;
    bars.forEach(([name, bar, number], action) => {
      const probability = replay.probabilities[wanted][action];
      const taken = action === replay.taken[wanted] && wanted < end ? "taken" : "";
      for (const element of [name, bar, number]) element.className = taken;
      bar.style.width = `${100 * probability}%`;
      number.textContent = `${Math.round(100 * probability)}%`;
    });
    soFar.setAttribute("points", points.slice(0, wanted + 1).join(" "));
  }

  const caption = make("figcaption", {}, replay.label, make("small", {}, replay.about));
  const probable = make("div", { className: "bars", title: "probabilities of the moves; in colour, the one taken" }, ...bars.flat());
  const scale = make("small", {}, `value by step, ${short(low)} to ${short(high)}`);
  return { element: make("figure", { className: "player" }, caption, canvas, said, probable, line, scale), show };
}

// Curves: a plot for each panel, and one legend that switches runs and seeds in all of them.

function showCurves(place, { runs, panels }) {
  const on = runs.map((run) => ({ run: true, seeds: run.seeds.map(() => !run.banded) }));
  const plots = panels.map((panel) => drawPanel(panel, runs));
  const isOn = ({ run, seed }) => on[run].run && (seed === undefined || on[run].seeds[seed]);
  const refresh = () => plots.forEach(({ element, traces }) => {
    Plotly.restyle(element, { visible: traces.map((trace) => isOn(trace.meta)) });
  });
  const box = (checked, act) => {
    const input = make("input", { type: "checkbox", checked });
    input.addEventListener("change", () => { act(input.checked); refresh(); });
    return input;
  };
  const entries = runs.map((run, index) => {
    const stroke = { stroke: run.color, "stroke-width": 3, "stroke-dasharray": run.dash.join(" ") };
    const swatch = drawn("svg", { class: "swatch", "aria-hidden": "true" }, drawn("line", { x1: 0, x2: 34, y1: 5, y2: 5, ...stroke }));
    const whole = make("label", {}, box(true, (value) => { on[index].run = value; }), swatch, run.label);
    const seeds = run.seeds.map((seed, at) =>
      make("label", {}, box(on[index].seeds[at], (value) => { on[index].seeds[at] = value; }), String(seed)));
    return make("div", { className: "entry" }, whole, make("span", { className: "seeds" }, "seeds", ...seeds));
  });
  const drawnAs = "Thick: mean over seeds, with a 95% band from ten seeds on. Thin: each seed.";
  const legend = make("div", { className: "legend", role: "group", ariaLabel: "what is drawn" }, ...entries, make("small", {}, drawnAs));
  const grid = make("div", { className: "panels" }, ...plots.map((plot) => plot.element));
  place.append(legend, grid);
  for (const plot of plots) plot.draw();
  refresh();
}

// From numbers to places on an axis, and, but for linear ones, the numbers that may be written at it.
const UNBOUNDED = {
  linear: (value) => value,
  log: (value) => (value > 0 ? Math.log10(value) : null),
  logit: (value) => (value > 0 && value < 1 ? Math.log10(value / (1 - value)) : null),
};
const DECADES = Array.from({ length: 25 }, (_, index) => 10 ** (index - 14));
const ROUND = {
  log: [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map((digits) => DECADES.flatMap((decade) => digits.map((digit) => digit * decade))),
  logit: [[1, 5], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map((digits) => {
    const tails = DECADES.filter((decade) => decade > 1e-9 && decade < 1).flatMap((decade) => digits.map((digit) => digit * decade));
    return [...tails, ...tails.map((tail) => 1 - tail)].sort((a, b) => a - b);
  }),
};

function drawPanel(panel, runs) {
  const place = (values) => values.map((value) => (value === null ? null : UNBOUNDED[panel.scale](value)));
  const traces = panel.lines.flatMap((line) => {
    const { label, color, dash, banded, env_steps, seeds } = runs[line.run];
    const told = label.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    const trace = (values, name, style, meta) => ({
      x: env_steps, y: place(values), type: "scatter", mode: env_steps.length > 1 ? "lines" : "markers", meta, ...style,
      text: values.map((value, at) => `${told}, ${name}<br>${env_steps[at].toLocaleString("en")} steps: <b>${short(value, 4)}</b>`
        + (meta.seed === undefined && line.low[at] !== null ? ` [${short(line.low[at], 4)}, ${short(line.high[at], 4)}]` : "")),
      hovertemplate: "%{text}<extra></extra>",
    });
    const thin = line.seeds.map((values, seed) => trace(values, `seed ${seeds[seed]}`, { line: { color, width: 1 }, opacity: 0.45 }, { run: line.run, seed }));
    const name = line.seeds.length ? `mean of ${seeds.length} seeds` : "over seeds";
    const mean = trace(line.mean, name, { line: { color, width: 2.5, dash: dash.map((length) => `${length}px`).join(",") || "solid" } }, { run: line.run });
    const known = banded && line.seeds.length ? env_steps.map((_, at) => at).filter((at) => line.low[at] !== null) : [];
    const edge = (values) => place(known.map((at) => values[at]));
    const around = known.map((at) => env_steps[at]);
    const band = { x: [...around, ...around.slice().reverse()], y: [...edge(line.low), ...edge(line.high).reverse()], type: "scatter",
      mode: "lines", fill: "toself", fillcolor: color, line: { width: 0 }, opacity: 0.18, hoverinfo: "skip", meta: { run: line.run } };
    return known.length ? [band, ...thin, mean] : [...thin, mean];
  });
  const layout = {
    title: { text: panel.title, font: { size: 14 }, x: 0.02, xanchor: "left", y: 0.97, yanchor: "top" },
    margin: { l: 62, r: 12, t: 36, b: 44 }, showlegend: false, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", font: { size: 12, color: "#1b1e29" },
    xaxis: { title: { text: "environment steps a seed" }, tickformat: "~s", rangemode: "tozero", gridcolor: "#e4e6eb", zeroline: false },
    yaxis: { title: { text: panel.axis }, type: "linear", gridcolor: "#e4e6eb", zeroline: false, nticks: 6,
      rangemode: panel.kind === "episode_return" ? "tozero" : "normal" },
  };
  const element = make("div", { className: "plot" });
  function draw() {
    const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
    Plotly.newPlot(element, traces, layout, options);
    if (panel.scale in ROUND) element.on("plotly_afterplot", () => label(element, panel.scale));
  }
  return { element, traces, draw };
}

// Writes round numbers at an axis, whatever part of it is shown: the fewest kinds of digits that give three of them.
function label(element, scale) {
  const [low, high] = element._fullLayout.yaxis.range;
  const within = (numbers) => numbers.map((number) => parseFloat(number.toPrecision(9))).reduce((kept, number) => {
    const [odds, before] = [number, kept.at(-1)].map((one) => (one === undefined ? -Infinity : UNBOUNDED[scale](one)));
    return odds >= low && odds <= high && odds - before >= 0.1 * (high - low) ? [...kept, number] : kept;
  }, []);
  const kinds = ROUND[scale].map(within);
  const numbers = kinds.find((kind) => kind.length > 2) || evenly(scale, low, high);
  const ticktext = numbers.map(String);
  if (ticktext.join() === (element.layout.yaxis.ticktext || []).join()) return;
  Plotly.relayout(element, { "yaxis.tickmode": "array", "yaxis.tickvals": numbers.map(UNBOUNDED[scale]), "yaxis.ticktext": ticktext });
}

function evenly(scale, low, high) {
  const number = (place) => (scale === "log" ? 10 ** place : 1 / (1 + 10 ** -place));
  const least = (number(high) - number(low)) / 4;
  const step = [1, 2, 5, 10].map((digit) => digit * 10 ** Math.floor(Math.log10(least))).find((size) => size >= least);
  const first = Math.ceil(number(low) / step);
  return [0, 1, 2, 3, 4].map((index) => parseFloat(((first + index) * step).toPrecision(9))).filter((one) => one <= number(high));
}

async function loadLibrary() {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(make("script", { textContent: await new Response(stream).text() }));
}

async function main() {
  const places = (kind) => [...document.querySelectorAll(`.${kind}`)];
  for (const place of places("replays")) showReplays(place, data[place.dataset.part].replays);
  try {
    await loadLibrary();
  } catch (error) {
    for (const place of places("curves")) place.append("These curves need a browser of 2023 or later.");
    return;
  }
  for (const place of places("curves")) showCurves(place, data[place.dataset.part].curves);
  document.body.dataset.ready = "yes";
}

main();
