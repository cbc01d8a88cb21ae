// The page: one chosen account (or the house) for all figures, redrawn when the choice or the width changes.
const DATA = JSON.parse(document.getElementById("data").textContent), UNIT = DATA.currency;
const VIEWS = new Map(DATA.views.map(view => [view.id, view]));
const STATUS = new Map(DATA.accounts.columns[0].values.map((id, i) => [id, DATA.accounts.columns[1].values[i]]));
const HOUSE = "The whole house";
const choice = {account: "", days: DATA.days, level: DATA.level, log: false, underlying: null, without: false};

const part = id => document.getElementById(id);
const plot = id => part(id).querySelector(".plot");
const title = id => id === "" ? HOUSE : id;

function absent(place, text) { place.replaceChildren(element("p", "absent", text)); }

function switches(place, groups, redraw = drawAccount) {
  place.replaceChildren();
  for (const {label, options, chosen, pick} of groups) {
    if (options.length < 2) continue;
    const group = element("span", "group");
    group.setAttribute("role", "group"); group.setAttribute("aria-label", label);
    for (const [value, text] of options) {
      const button = element("button", "", text);
      button.setAttribute("aria-pressed", String(value === chosen));
      button.addEventListener("click", () => { pick(value); redraw(); });
      group.append(button);
    }
    place.append(group);
  }
}

// Columns: [title, kind ("text", "number", "bar")]; rows: texts, or {text, className}, or a node.
function plainTable(place, columns, rows) {
  const scroll = element("div", "scroll"), table = element("table", "lines"), head = element("thead"), line = element("tr"), body = element("tbody");
  for (const [name, kind] of columns) line.append(element("th", kind, name));
  for (const cells of rows) {
    const row = element("tr");
    cells.forEach((cell, i) => {
      const made = element("td", columns[i][1] === "number" ? "number" : columns[i][1]);
      if (cell instanceof Node) made.append(cell);
      else if (cell !== null && typeof cell === "object") { made.textContent = cell.text; made.classList.add(cell.className); }
      else made.textContent = cell;
      row.append(made);
    });
    body.append(row);
  }
  head.append(line); table.append(head, body); scroll.append(table);
  place.replaceChildren(scroll);
}

// Every digit where there is room, three on a telephone.
function money(value) { return window.innerWidth < 760 ? short(value) : full(value, DATA.decimals); }

function signed(value) { return value !== null && value < 0 ? {text: money(value), className: "negative"} : money(value); }

function bar(value, most) {
  const made = element("i", value > 0 ? "gain" : "");
  made.style.width = (!value || !most ? 0 : Math.max(1, 100 * Math.abs(value) / most)) + "%";
  return made;
}

function drawMargin(view) {
  const initial = view.waterfall.find(b => b.label === "Initial margin"), equity = view.waterfall.find(b => b.label === "Equity");
  const last = view.waterfall[view.waterfall.length - 1];
  part("waterfall-note").textContent = view.id === ""
    ? `Sums over all accounts, ${UNIT}. The excess of one account does not cover the shortfall of another.`
    : `${short(initial.value)} ${UNIT} to post against equity of ${short(equity.value)}: ${last.label.toLowerCase()} ${short(Math.abs(last.value))}, status ${STATUS.get(view.id)}.`;
  drawWaterfall(plot("waterfall"), view.waterfall, UNIT);
}

function drawPositions(view) {
  const found = view.contributors, note = part("contributors-note");
  if (!found) { note.textContent = ""; absent(plot("contributors"), "The run kept no contributions."); }
  else {
    const share = found.total > 0 && found.values.length ? 100 * found.values[0] / found.total : null;
    note.textContent = (share !== null ? `${found.names[0]} alone carries ${share.toFixed(0)} % of ` : "How the positions add up to ")
      + (view.id === "" ? `the accounts' expected shortfall, ${short(found.total)} ${UNIT}.` : `the expected shortfall of ${short(found.total)} ${UNIT}.`) + " Contributions add up to the total; negative ones are hedges.";
    drawContributors(plot("contributors"), found, UNIT);
  }
  part("greeks-note").textContent = view.greeks.length ? `Greeks in ${UNIT}: delta for +100 % of the price, gamma its change for +1 %, vega for +1 volatility point, theta for one day.` : "";
  if (!view.greeks.length) { part("greeks").replaceChildren(); return; }
  const names = Object.keys(view.greeks[0]);
  plainTable(part("greeks"), names.map(n => [n[0].toUpperCase() + n.slice(1), n === "underlying" ? "text" : "number"]),
    view.greeks.map(g => names.map(n => n === "underlying" ? g[n] : g[n] === null ? "n/a" : g[n].toLocaleString("en-US", {maximumSignificantDigits: 4}).replace("-", MINUS))));
}

function horizonName(days) { const hours = days * 24; return days < .9 && Math.abs(hours - Math.round(hours)) < 1e-6 ? `${Math.round(hours)} h` : `${+days.toPrecision(3)} d`; }

function drawTail(view) {
  const place = part("distribution"), note = part("distribution-note"), all = view.distributions;
  if (!all.length) { switches(place.querySelector(".switches"), []); note.textContent = ""; absent(plot("distribution"), "The run kept no P&L histogram of this account."); part("tails").replaceChildren(); return; }
  const data = all.find(d => d.days === choice.days) || all[0], tail = data.tails.find(t => t.level === choice.level) || data.tails[0];
  switches(place.querySelector(".switches"), [
    {label: "Horizon", options: all.map(d => [d.days, horizonName(d.days)]), chosen: data.days, pick: v => { choice.days = v; }},
    {label: "Level", options: data.tails.map(t => [t.level, `${+(100 * t.level).toFixed(4)} %`]), chosen: tail && tail.level, pick: v => { choice.level = v; }},
    {label: "Scale", options: [[false, "Counts"], [true, "Log counts"]], chosen: choice.log, pick: v => { choice.log = v; }},
  ]);
  note.textContent = (view.id === "" ? "The house as one portfolio, all accounts netted. " : "") + `Profit to the right, loss to the left, ${UNIT}, over ${horizonName(data.days)}. Bands are one standard error to each side.`;
  drawDistribution(plot("distribution"), data, tail, choice.log, UNIT);
  const rows = all.flatMap(d => d.tails.map(t => [horizonName(d.days), `${+(100 * t.level).toFixed(4)} %`, money(t.var), {text: "\u00b1 " + money(t.var_se), className: "faint"},
    money(t.es), {text: "\u00b1 " + money(t.es_se), className: "faint"}, t.reliable ? "" : {text: "error unreliable", className: "negative"}]));
  plainTable(part("tails"), [["Horizon", "text"], ["Level", "text"], ["VaR", "number"], ["s.e.", "number"], ["ES", "number"], ["s.e.", "number"], ["", "text"]], rows);
}

function drawWorst(view) {
  const shown = view.worst.length ? view : DATA.views.find(v => v.worst.length), note = part("scenarios-note");
  part("scenarios").querySelector(".whose").textContent = shown ? title(shown.id) : "";
  if (!shown) { note.textContent = ""; absent(plot("scenarios"), "The run kept no worst scenarios."); return; }
  note.textContent = (shown === view ? "" : `No scenarios were kept for ${view.id === "" ? "the house" : view.id}; these are the worst for ${title(shown.id)}. `)
    + (shown.told.length ? shown.told.join(" ") + " " : "What the market would have to do. ") + "Scenario numbers are addresses: each can be drawn again alone.";
  const most = Math.max(...shown.worst.map(w => Math.abs(w.pnl)));
  plainTable(plot("scenarios"), [["", "text"], ["What happens", "moves"], ["P&L", "number"], ["", "bar"], ["Scenario", "number"]],
    shown.worst.map(w => [{text: w.rank, className: "faint"}, w.moves, signed(w.pnl), bar(w.pnl, most), {text: w.scenario.toLocaleString("en-US") + (w.weight ? ` (weight ${w.weight})` : ""), className: "faint"}]));
}

function drawGrid(view) {
  const place = part("heat"), shown = view.heat.length ? view : DATA.views.find(v => v.heat.length), note = part("heat-note");
  part("heat").querySelector(".whose").textContent = shown ? title(shown.id) : "";
  if (!shown) { switches(place.querySelector(".switches"), []); note.textContent = ""; absent(plot("heat"), "The run kept no heat map."); return; }
  const map = shown.heat.find(h => h.underlying === choice.underlying) || shown.heat[0];
  switches(place.querySelector(".switches"), [{label: "Underlying", options: shown.heat.map(h => [h.underlying, h.underlying === "all" ? "All together" : h.underlying]), chosen: map.underlying, pick: v => { choice.underlying = v; }}]);
  note.textContent = (shown === view ? "" : `No heat map was kept for ${title(view.id)}; this is ${title(shown.id)}. `) + (map.underlying === "all" ? `Profit and loss in ${UNIT} when every price moves by the same share, and every volatility too.`
    : `Profit and loss in ${UNIT} when ${map.underlying} and its volatility move at once and nothing else does.`);
  drawHeat(plot("heat"), map, UNIT);
}

function drawStress(view) {
  const table = DATA.stress, note = part("stress-note");
  if (!table) { note.textContent = ""; absent(plot("stress"), "No stress was run."); return; }
  const own = table.accounts.indexOf(view.id);
  const most = Math.max(...table.lines.map(l => Math.abs((own < 0 ? l.house : l.accounts[own]) ?? 0)));
  note.textContent = `Named moves, fully repriced, ${UNIT}.` + (table.complete ? " The last columns look at every account." : "");
  const columns = [["Stress", "wrap"], ["House", "number"]];
  if (own >= 0) columns.push([view.id, "number"]);
  columns.push(["", "bar"]);
  if (table.complete) columns.push(["Worst account", "text"], ["its P&L", "number"], ["lose more than margin", "number"]);
  plainTable(plot("stress"), columns, table.lines.map(l => {
    const cells = [l.name, signed(l.house)];
    if (own >= 0) cells.push(signed(l.accounts[own]));
    cells.push(bar(own < 0 ? l.house : l.accounts[own], most));
    if (table.complete) cells.push(l.worst, signed(l.worst_pnl), l.beyond ? {text: l.beyond.toLocaleString("en-US"), className: "strong"} : "0");
    return cells;
  }));
}

function drawCame() {
  const came = DATA.realised;
  if (!came) return;
  const place = part("realised"), points = came.points;
  switches(place.querySelector(".switches"), [{label: "Options settled by proxy", options: points.without ? [[false, "With proxy-settled options"], [true, "Without"]] : [], chosen: choice.without, pick: v => { choice.without = v; }}], drawCame);
  drawRealised(plot("realised"), points, choice.without && points.without ? points.without : points.loss, UNIT);
}

function drawAccount() {
  const view = VIEWS.get(choice.account);
  if (!view) return;
  for (const id of ["waterfall", "contributors", "distribution", "scenarios", "heat"]) part(id).querySelector(".whose").textContent = title(view.id);
  drawMargin(view); drawPositions(view); drawTail(view); drawWorst(view); drawGrid(view); drawStress(view);
}

function draw() { drawAccount(); drawCame(); }

function choose(account, scroll) {
  choice.account = account;
  part("chooser").value = account;
  drawAccount();
  if (scroll) part("waterfall").scrollIntoView();
}

// A page opened with #account=ID shows that account.
function linked() {
  const found = /^#account=(.+)$/.exec(window.location.hash);
  if (!found) return "";
  try { const id = decodeURIComponent(found[1]); return VIEWS.has(id) ? id : ""; } catch { return ""; }
}

function start() {
  const chooser = part("chooser"), tally = part("statusbar");
  for (const view of DATA.views) {
    const status = STATUS.get(view.id), option = element("option", "", title(view.id) + (status && status !== "ok" ? ` (${status})` : ""));
    option.value = view.id;
    chooser.append(option);
  }
  chooser.addEventListener("change", () => choose(chooser.value, false));
  if (!DATA.views.length) {
    absent(part("table"), "There are no accounts.");
    for (const id of ["waterfall", "contributors", "distribution", "scenarios", "heat", "stress"]) absent(plot(id), "There are no accounts.");
    return;
  }
  if (tally) for (const kind of ["liquidation", "call", "ok"]) {
    const count = [...STATUS.values()].filter(s => s === kind).length, piece = element("i", kind);
    if (!count) continue;
    piece.style.flex = String(count);
    tally.append(tipped(piece, `${count.toLocaleString("en-US")} ${kind}`));
  }
  accountTable(part("table"), DATA.accounts, new Set(DATA.views.map(v => v.id).filter(id => id !== "")), choose);
  choose(linked(), false);
  drawCame();
  let width = window.innerWidth, waiting = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 120);
  });
  const links = new Map([...document.querySelectorAll("#bar a")].map(a => [a.getAttribute("href").slice(1), a]));
  const watch = new IntersectionObserver(found => {
    for (const entry of found) if (links.has(entry.target.id)) links.get(entry.target.id).classList.toggle("here", entry.isIntersecting);
  }, {rootMargin: "-20% 0px -79% 0px"});
  window.addEventListener("scroll", () => { for (const id of links.keys()) watch.observe(part(id)); }, {once: true});
  const asked = window.location.hash.slice(1);  // the browser went there before the figures had a height
  if (links.has(asked)) part(asked).scrollIntoView({behavior: "instant"});
}
start();
