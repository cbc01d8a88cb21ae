// The table of all accounts: sort by any column, search by id, filter by status, page, save what is shown as CSV.
function accountTable(place, table, detailed, choose) {
  const PAGE = 15;
  const columns = table.columns, ids = columns[0].values, statuses = columns[1].values, every = ids.map((_, i) => i);
  const state = {sort: columns.findIndex(c => c.name === "initial_margin"), down: true, search: "", status: "", page: 0, all: false};
  const tools = element("div", "tools"), search = element("input"), chips = element("span", "group"), right = element("span", "right");
  search.type = "search"; search.placeholder = "Search accounts"; search.setAttribute("aria-label", "Search accounts");
  const count = status => statuses.filter(s => s === status).length;
  const kinds = [["", "All"], ...["liquidation", "call", "ok"].filter(count).map(s => [s, s[0].toUpperCase() + s.slice(1)])];
  for (const other of new Set(statuses)) if (!kinds.some(k => k[0] === other)) kinds.push([other, other]);
  const buttons = kinds.map(([status, title]) => {
    const button = element("button", "", `${title} ${(status ? count(status) : ids.length).toLocaleString("en-US")}`);
    button.addEventListener("click", () => { state.status = status; state.page = 0; draw(); });
    chips.append(button);
    return button;
  });
  const before = element("button", "", "\u2190"), shown = element("span"), after = element("button", "", "\u2192"), whole = element("button", "", "Show all"), save = element("button", "", "Save CSV");
  before.setAttribute("aria-label", "Previous page"); after.setAttribute("aria-label", "Next page");
  before.addEventListener("click", () => { state.page--; draw(); });
  after.addEventListener("click", () => { state.page++; draw(); });
  whole.addEventListener("click", () => { state.all = !state.all; state.page = 0; draw(); });
  save.addEventListener("click", () => saveRows(columns, rows()));
  search.addEventListener("input", () => { state.search = search.value.toLowerCase(); state.page = 0; draw(); });
  right.append(before, shown, after, whole, save);
  tools.append(search, chips, right);

  const scroll = element("div", "scroll"), grid = element("table"), head = element("thead"), line = element("tr"), body = element("tbody");
  const heads = columns.map((column, i) => {
    const cell = element("th", column.kind === "text" ? "" : "number"), button = element("button", "", column.title);
    button.addEventListener("click", () => { state.down = state.sort === i ? !state.down : column.kind !== "text"; state.sort = i; state.page = 0; draw(); });
    cell.append(button); line.append(cell);
    return cell;
  });
  head.append(line); grid.append(head, body); scroll.append(grid);
  place.replaceChildren(tools, scroll);
  if (table.rows < table.of) place.append(element("p", "note", `${table.rows.toLocaleString("en-US")} of ${table.of.toLocaleString("en-US")} accounts: every breach first, then the largest. All are in margin.csv.`));

  function rows() {
    const values = columns[state.sort].values, sign = state.down ? -1 : 1;
    const kept = every.filter(i => (!state.status || statuses[i] === state.status) && (!state.search || ids[i].toLowerCase().includes(state.search)));
    return kept.sort((a, b) => {
      const u = values[a], v = values[b];
      if (u === v) return a - b;
      if (u === null) return 1;
      if (v === null) return -1;
      return (u < v ? -1 : 1) * sign;
    });
  }

  function draw() {
    const found = rows(), size = state.all ? found.length || 1 : PAGE, pages = Math.max(1, Math.ceil(found.length / size));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const first = state.page * size, page = found.slice(first, first + size);
    heads.forEach((cell, i) => i === state.sort ? cell.setAttribute("aria-sort", state.down ? "descending" : "ascending") : cell.removeAttribute("aria-sort"));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(kinds[i][0] === state.status)));
    body.replaceChildren(...page.map(accountRow));
    shown.textContent = found.length ? `${first + 1}\u2013${first + page.length} of ${found.length.toLocaleString("en-US")}` : "no account";
    before.disabled = state.page === 0; after.disabled = state.page >= pages - 1;
    whole.textContent = state.all ? "Show pages" : "Show all";
  }

  function accountRow(i) {
    const made = element("tr");
    columns.forEach((column, c) => {
      const value = column.values[i], cell = element("td", column.kind === "text" ? "" : "number");
      if (c === 0 && detailed.has(value)) {
        const open = element("button", "open", value);
        open.addEventListener("click", () => choose(value, true));
        cell.append(open);
      } else if (column.name === "status") cell.append(element("span", "pill " + value, value));
      else if (column.kind === "text") cell.textContent = value;
      else cell.textContent = column.kind === "ratio" ? (value === null ? "" : value.toFixed(2)) : full(value, table.decimals);
      if (c === 0) cell.title = value;
      if (column.name === "initial_margin") cell.classList.add("strong");
      if (column.name.endsWith("standard_error")) cell.classList.add("faint");
      if (typeof value === "number" && value < 0) cell.classList.add("negative");
      made.append(cell);
    });
    return made;
  }
  draw();
}

// A text cell that a spreadsheet would take for a formula is written with an apostrophe before it; numbers are left alone.
function csvCell(value, text) {
  if (value === null || value === undefined) return "";
  if (!text) return String(value);
  const safe = /^[\s]*[=+\-@\t\r|%]/.test(value) ? "'" + value : value;
  return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

function saveRows(columns, rows) {
  const lines = [columns.map(c => csvCell(c.name, true)).join(",")];
  for (const i of rows) lines.push(columns.map(c => csvCell(c.values[i], c.kind === "text")).join(","));
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], {type: "text/csv"}));
  link.download = "margin.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
