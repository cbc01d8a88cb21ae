"use strict";
// Drawing: SVG nodes only, text by textContent only, colours by class so that light, dark and print need no redraw.
const SPACE = document.getElementById("proto").namespaceURI;
const MINUS = "\u2212", TIP = document.getElementById("tip");

function node(tag, attributes, text) {
  const made = document.createElementNS(SPACE, tag);
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  if (text !== undefined) made.textContent = text;
  return made;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function full(value, decimals) {
  if (value === null || value === undefined) return "n/a";
  const text = Math.abs(value).toLocaleString("en-US", {minimumFractionDigits: decimals, maximumFractionDigits: decimals});
  return value < 0 ? MINUS + text : text;
}

function short(value) {
  if (value === null || value === undefined) return "n/a";
  const size = Math.abs(value), sign = value < 0 ? MINUS : "";
  for (const [scale, name] of [[1e12, " tn"], [1e9, " bn"], [1e6, " m"], [1e3, " k"]])
    if (size >= 0.9995 * scale) return sign + three(size / scale) + name;
  return size < 0.0005 ? "0" : sign + three(size);
}

function three(size) { return size < 9.995 ? size.toFixed(2) : size < 99.95 ? size.toFixed(1) : size.toFixed(0); }

// An axis label: as few digits as the step needs.
function tick(value, step) {
  const size = Math.abs(value), sign = value < 0 ? MINUS : "";
  if (size < step * 1e-6) return "0";
  for (const [scale, name] of [[1e12, " tn"], [1e9, " bn"], [1e6, " m"], [1e3, " k"]])
    if (size >= 0.9995 * scale) return sign + String(+(size / scale).toPrecision(3)) + name;
  return sign + String(+size.toPrecision(3));
}

function percent(fraction, digits) {
  const text = (100 * Math.abs(fraction)).toFixed(digits);
  return (Number(text) === 0 ? "" : fraction < 0 ? MINUS : "+") + text + "\u00a0%";
}

function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted), power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough) || power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return {step, values: found};
}

function tipped(target, text) {
  const show = event => {
    TIP.textContent = typeof text === "function" ? text(event) : text;
    TIP.hidden = false;
    const box = TIP.getBoundingClientRect(), x = event.clientX, y = event.clientY;
    TIP.style.left = Math.max(6, Math.min(window.innerWidth - box.width - 6, x + 14)) + "px";
    TIP.style.top = (y + box.height + 22 > window.innerHeight ? y - box.height - 12 : y + 16) + "px";
  };
  target.addEventListener("pointermove", show);
  target.addEventListener("pointerdown", show);
  target.addEventListener("pointerleave", () => { TIP.hidden = true; });
  return target;
}

// An empty drawing as wide as its place; `height` may depend on the width.
function canvas(place, height, label) {
  const width = Math.max(260, place.clientWidth || 800);
  const tall = typeof height === "function" ? height(width) : height;
  const svg = node("svg", {viewBox: `0 0 ${width} ${tall}`, width, height: tall, class: "chart", role: "img", "aria-label": label});
  place.replaceChildren(svg);
  return {svg, width, height: tall, narrow: width < 560};
}

function fit(text, room) { const letters = Math.max(4, Math.floor(room / 6.6)); return text.length > letters ? text.slice(0, letters - 1) + "\u2026" : text; }

// Steps hang from the running sum; totals restart at zero. Horizontal, so that names can be read.
function drawWaterfall(place, bars, unit) {
  const row = 34, {svg, width, narrow} = canvas(place, bars.length * row + 26, "Waterfall from core to total margin");
  const left = narrow ? 8 : 210, right = narrow ? 8 : 90;
  let run = 0;
  const spans = bars.map(bar => {
    const value = bar.value ?? 0;
    const from = bar.kind === "step" ? run : 0;
    run = bar.kind === "step" ? run + value : value;
    return [from, run];
  });
  const low = Math.min(0, ...spans.flat()), high = Math.max(0, ...spans.flat(), low + 1e-9);
  const x = v => left + (v - low) / (high - low) * (width - left - right);
  const marks = ticks(low, high, narrow ? 3 : 6);
  for (const v of marks.values) {
    svg.append(node("line", {x1: x(v), x2: x(v), y1: 0, y2: bars.length * row, class: Math.abs(v) < 1e-9 ? "zero" : "axis"}));
    svg.append(node("text", {x: x(v), y: bars.length * row + 18, "text-anchor": "middle"}, tick(v, marks.step)));
  }
  bars.forEach((bar, i) => {
    const [from, to] = spans[i], y = i * row + (narrow ? 16 : 6), tall = narrow ? 14 : 22, strong = bar.kind !== "step";
    const colour = bar.kind === "step" ? (bar.value < 0 ? "fill-loss" : "fill-gain") : bar.value < 0 ? "fill-loss" : "fill-accent";
    const cost = bar.kind === "step" && i < bars.findIndex(b => b.label === "Initial margin");
    svg.append(node("rect", {x: Math.min(x(from), x(to)), y, width: Math.max(1.5, Math.abs(x(to) - x(from))), height: tall, rx: 3,
      class: cost ? (bar.value < 0 ? "fill-gain" : "fill-warn") : colour, "fill-opacity": bar.kind === "total" ? .55 : bar.kind === "sum" ? 1 : .75}));
    const next = bars[i + 1];
    if (next && (next.kind === "step" || (next.kind === "sum"))) svg.append(node("line", {x1: x(to), x2: x(to), y1: y + tall, y2: y + row, class: "link"}));
    svg.append(node("text", {x: narrow ? left : left - 12, y: narrow ? y - 4 : y + 15, "text-anchor": narrow ? "start" : "end", class: strong ? "strong" : "ink"}, bar.label));
    const end = Math.max(x(from), x(to)), amount = (bar.kind === "step" && bar.value > 0 ? "+" : "") + short(bar.value);
    svg.append(node("text", {x: narrow ? width - 8 : end + 8, y: narrow ? y - 4 : y + 15, "text-anchor": narrow ? "end" : "start", class: strong ? "strong" : "ink"}, amount));
    svg.append(tipped(node("rect", {x: 0, y: i * row, width, height: row, class: "fill-none hit"}), `${bar.label}\n${full(bar.value, 0)} ${unit}`));
  });
}

// Bars to both sides of zero, largest first; what adds to the margin is red, what hedges is green.
function drawContributors(place, data, unit) {
  const names = data.names, values = data.values;
  const row = 27, {svg, width, narrow} = canvas(place, names.length * row + (data.count ? 50 : 24), "Largest contributions to expected shortfall");
  const left = narrow ? 150 : 250, right = narrow ? 8 : 20;
  const low = Math.min(0, ...values), high = Math.max(0, ...values), span = high - low || 1;
  const pad = narrow ? 46 : 66, l = left + (low < 0 ? pad : 0), r = width - right - pad;
  const x = v => l + (v - low) / span * (r - l);
  svg.append(node("line", {x1: x(0), x2: x(0), y1: 0, y2: names.length * row, class: "zero"}));
  names.forEach((name, i) => {
    const value = values[i], y = i * row;
    svg.append(node("rect", {x: Math.min(x(0), x(value)), y: y + 5, width: Math.max(1, Math.abs(x(value) - x(0))), height: row - 10, rx: 3,
      class: value < 0 ? "fill-gain" : "fill-loss", "fill-opacity": .8}));
    svg.append(node("text", {x: 0, y: y + 18, class: "ink"}, fit(name, left - 10)));
    svg.append(node("text", {x: value < 0 ? x(value) - 6 : x(value) + 6, y: y + 18, "text-anchor": value < 0 ? "end" : "start", class: "ink"}, short(value)));
    const share = data.total ? `, ${(100 * value / data.total).toFixed(1)} % of the total` : "";
    svg.append(tipped(node("rect", {x: 0, y, width, height: row, class: "fill-none hit"}), `${name}\n${full(value, 0)} ${unit}${share}`));
  });
  const end = names.length * row + 16;
  svg.append(node("text", {x: x(0) + 6, y: end}, "adds to margin \u2192"));
  if (low < 0) svg.append(node("text", {x: x(0) - 6, y: end, "text-anchor": "end"}, "\u2190 hedges"));
  if (data.count) svg.append(node("text", {x: 0, y: end + 26}, `${data.count.toLocaleString("en-US")} other position${data.count === 1 ? "" : "s"} together: ${short(data.others)} ${unit}`));
}

// Histogram with VaR and ES; the tail beyond VaR is red; a band one standard error to each side of each mark.
function drawDistribution(place, data, tail, log, unit) {
  const {svg, width, height, narrow} = canvas(place, w => w < 560 ? 260 : 340, "Distribution of profit and loss");
  const left = 8, right = 8, top = 48, bottom = height - 28, edges = data.edges, counts = data.counts;
  const total = counts.reduce((a, b) => a + b, 0) || 1, most = Math.max(...counts, 1);
  const low = Math.min(edges[0], tail ? -(tail.es + tail.es_se) : 0), high = edges[edges.length - 1];
  const x = v => left + (v - low) / (high - low || 1) * (width - left - right);
  const y = c => bottom - (log ? Math.log10(1 + c) / Math.log10(1 + most) : c / most) * (bottom - top);
  const marks = ticks(low, high, narrow ? 4 : 9);
  for (const v of marks.values) {
    svg.append(node("line", {x1: x(v), x2: x(v), y1: top, y2: bottom, class: Math.abs(v) < 1e-9 ? "zero" : "axis"}));
    svg.append(node("text", {x: x(v), y: bottom + 18, "text-anchor": "middle"}, tick(v, marks.step)));
  }
  let below = 0;
  counts.forEach((count, i) => {
    const a = x(edges[i]), b = x(edges[i + 1]), middle = (edges[i] + edges[i + 1]) / 2;
    below += count;
    const share = below / total;
    if (count > 0) svg.append(node("rect", {x: a, y: y(count), width: Math.max(.6, b - a - (b - a > 4 ? 1 : 0)), height: bottom - y(count), class: tail && middle < -tail.var ? "fill-loss" : "fill-accent", "fill-opacity": .8}));
    svg.append(tipped(node("rect", {x: a, y: top, width: Math.max(.6, b - a), height: bottom - top, class: "fill-none hit"}),
      `${i === 0 ? "up to" : short(edges[i]) + " to"} ${i === counts.length - 1 ? "the best" : short(edges[i + 1])} ${unit}\n${count.toLocaleString("en-US")} scenarios, ${(100 * share).toFixed(share < .01 || share > .99 ? 2 : 1)} % at or below`));
  });
  svg.append(node("line", {x1: left, x2: width - right, y1: bottom, y2: bottom, class: "axis"}));
  if (!tail) return;
  const level = +(100 * tail.level).toFixed(4);
  const labels = [];
  for (const [name, value, error, colour, line, after] of [["VaR", tail.var, tail.var_se, "warn", 12, true], ["ES", tail.es, tail.es_se, "loss", 32, false]]) {
    if (value === null) continue;
    const at = x(-value);
    if (error) svg.append(node("rect", {x: x(-value - error), y: line + 4, width: Math.max(2, x(-value + error) - x(-value - error)), height: bottom - line - 4, class: "fill-" + colour, "fill-opacity": .22}));
    svg.append(node("line", {x1: at, x2: at, y1: line + 4, y2: bottom, class: "line-" + colour, "stroke-width": 1.6}));
    const text = `${name} ${level} %: ${short(value)} \u00b1 ${short(error)}`, room = text.length * 6.9;
    const right = after ? at + room < width : at - room < 0;
    labels.push(node("text", {x: right ? at + 6 : at - 6, y: line + 2, "text-anchor": right ? "start" : "end", class: "halo text-" + colour}, text));
  }
  svg.append(...labels);
}

// P&L over price moves (across) and volatility moves (up).
function drawHeat(place, map, unit) {
  const columns = map.prices.length, lines = map.volatilities.length;
  const {svg, width, narrow} = canvas(place, w => lines * (w < 560 ? 26 : 34) + 62, "Profit and loss over price and volatility moves");
  const left = narrow ? 52 : 84, tall = narrow ? 26 : 34, wide = (width - left) / columns;
  const most = Math.max(...map.pnl.flat().map(v => Math.abs(v ?? 0)), 1e-12), small = wide < 52;
  map.pnl.forEach((line, i) => line.forEach((value, j) => {
    const x = left + j * wide, y = (lines - 1 - i) * tall, depth = value === null ? 0 : Math.sqrt(Math.abs(value) / most);
    svg.append(node("rect", {x: x + .75, y: y + .75, width: wide - 1.5, height: tall - 1.5, rx: 4, class: value < 0 ? "fill-loss" : "fill-gain", "fill-opacity": (.05 + .85 * depth).toFixed(3)}));
    if (!small) svg.append(node("text", {x: x + wide / 2, y: y + tall / 2 + 4, "text-anchor": "middle", class: depth > .72 ? "inverse" : "ink"}, short(value)));
    const here = map.prices[j] === 0 && map.volatilities[i] === 0;
    svg.append(tipped(node("rect", {x, y, width: wide, height: tall, class: "fill-none hit"}),
      `${map.underlying === "all" ? "every price" : map.underlying} ${percent(map.prices[j], 1)}, volatility ${percent(map.volatilities[i], 1)}\n${full(value, 0)} ${unit}${here ? " (no move)" : ""}`));
  }));
  map.volatilities.forEach((v, i) => svg.append(node("text", {x: left - 8, y: (lines - 1 - i) * tall + tall / 2 + 4, "text-anchor": "end", class: v === 0 ? "strong" : ""}, percent(v, 0))));
  const every = Math.ceil((narrow ? 40 : 44) / wide);
  map.prices.forEach((p, j) => { if (j % every === 0 || p === 0) svg.append(node("text", {x: left + (j + .5) * wide, y: lines * tall + 17, "text-anchor": "middle", class: p === 0 ? "strong" : ""}, percent(p, 0))); });
  svg.append(node("text", {x: left + (width - left) / 2, y: lines * tall + 40, "text-anchor": "middle"}, `${map.underlying === "all" ? "every underlying" : map.underlying}: price across, volatility up`));
}

// Loss that came against expected shortfall, both on a scale that keeps sign and spreads small amounts.
function drawRealised(place, points, loss, unit, open) {
  const {svg, width, height, narrow} = canvas(place, w => w < 560 ? 320 : 430, "Realised loss against expected shortfall by account");
  const left = narrow ? 46 : 64, right = 10, top = 12, bottom = height - 44;
  const known = loss.map((v, i) => i).filter(i => loss[i] !== null && points.es[i] !== null);
  if (!known.length) { place.replaceChildren(element("p", "absent", "No realised loss is known.")); return; }
  const sizes = known.map(i => Math.abs(loss[i])).concat(known.map(i => Math.abs(points.es[i]))).filter(v => v > 0).sort((a, b) => a - b);
  const unitSize = 10 ** Math.floor(Math.log10(sizes[Math.floor(sizes.length * .08)] || 1));
  const bend = v => Math.sign(v) * Math.log10(1 + Math.abs(v) / unitSize);
  const esHigh = Math.max(...known.map(i => bend(points.es[i]))), ys = known.map(i => bend(loss[i]));
  const high = Math.max(...ys, esHigh), low = Math.min(0, ...ys), far = Math.max(esHigh, 1e-9) * 1.03;
  const x = v => left + bend(v) / far * (width - left - right), y = v => bottom - (bend(v) - low) / ((high - low) * 1.03 || 1) * (bottom - top);
  const decades = sign => { const found = []; for (let v = unitSize * 10; bend(v) <= (sign > 0 ? Math.max(high, far) : -low); v *= 10) found.push(sign * v); return found; };
  for (const v of [0, ...decades(1)]) if (bend(v) <= far) {
    svg.append(node("line", {x1: x(v), x2: x(v), y1: top, y2: bottom, class: "axis"}), node("text", {x: x(v), y: bottom + 17, "text-anchor": "middle"}, tick(v, 1)));
  }
  for (const v of [0, ...decades(1), ...decades(-1)]) if (bend(v) <= high && bend(v) >= low) {
    svg.append(node("line", {x1: left, x2: width - right, y1: y(v), y2: y(v), class: v === 0 ? "zero" : "axis"}), node("text", {x: left - 8, y: y(v) + 4, "text-anchor": "end"}, tick(v, 1)));
  }
  const top10 = unitSize * (10 ** Math.min(far, high) - 1);
  svg.append(node("line", {x1: x(0), y1: y(0), x2: x(top10), y2: y(top10), class: "line-loss", "stroke-dasharray": "5 4", "stroke-opacity": .8}));
  for (const i of known) {
    const beyond = loss[i] > points.es[i] ? 2 : loss[i] > points.var[i] ? 1 : 0;
    svg.append(tipped(node("circle", {cx: x(points.es[i]).toFixed(1), cy: y(loss[i]).toFixed(1), r: beyond ? 3.4 : 2.4, class: ["fill-accent", "fill-warn", "fill-loss"][beyond], "fill-opacity": beyond ? .9 : .38}),
      `${points.ids[i]}\n${loss[i] < 0 ? "gained" : "lost"} ${full(Math.abs(loss[i]), 0)} ${unit}\nVaR ${full(points.var[i], 0)}, ES ${full(points.es[i], 0)}`));
  }
  svg.append(node("text", {x: left + 8, y: top + 12, class: "halo text-loss"}, "above the dashed line: lost more than ES"));
  svg.append(node("text", {x: (left + width) / 2, y: height - 8, "text-anchor": "middle"}, `Expected shortfall at the matching date, ${unit}`));
  svg.append(node("text", {x: 12, y: (top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + bottom) / 2})`}, narrow ? "" : `Realised loss (gains below zero), ${unit}`));
}
