// The board: DataTables sorts and searches; filters a column; the state stands in the address, so that a view can be sent.
"use strict";
(() => {
  const element = document.getElementById("board");
  if (!element) return;
  const heads = [...element.tHead.rows[0].cells];
  const names = heads.map((head) => head.textContent.trim());
  const kinds = heads.map((head) => head.dataset.kind);
  const AT_ONCE = Number(element.dataset.atOnce);
  const rising = ["rank", "parameters", "failure", "seconds", "model"];

  // What the page shows at once, it holds as rows, and all else as text, of which rows are made when they are to be seen.
  const seen = [...element.tBodies[0].rows].map((row) => ({
    suspect: row.dataset.suspect === "yes",
    cells: [...row.cells].map((cell) => [cell.innerHTML, cell.dataset.order, cell.className, cell.textContent]),
  }));
  const later = document.getElementById("later");
  const lines = seen.concat(later ? JSON.parse(later.textContent) : []);
  // What is searched is what is read, and not how it is marked up.
  const reader = document.createElement("textarea");
  const wordsOf = (html) => {
    const text = html.replace(/<[^>]*>/g, "");
    if (!text.includes("&")) return text;
    reader.innerHTML = text;
    return reader.value;
  };
  const words = (line, at) => (line.cells[at][3] ??= wordsOf(line.cells[at][0]));
  // DataTables reads as HTML what it searches, where there is a "&" in it.
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

  // The bundle's Select would go through all columns of every row before the table is drawn; no row is selected here.
  DataTable.select.init = () => {};
  const table = new DataTable(element, {
    data: lines,
    paging: lines.length > AT_ONCE,
    pageLength: AT_ONCE,
    lengthMenu: [AT_ONCE, 500, { label: "all", value: -1 }],
    language: { lengthMenu: "_MENU_ models a page" },
    info: false,
    autoWidth: false,
    order: [],
    layout: { topStart: null, topEnd: null, bottomStart: lines.length > AT_ONCE ? ["paging", "pageLength"] : null, bottomEnd: null },
    columns: kinds.map((kind, at) => ({
      data: (line, type) => {
        if (type === "filter") return escaped(words(line, at));
        const [html, order] = line.cells[at];
        return type === "display" ? html : kind === "model" ? order : Number(order);
      },
      cellType: kind === "model" ? "th" : "td",
      createdCell: (cell, _, line) => {
        cell.className = line.cells[at][2];
        if (kind === "model") cell.scope = "row";
      },
      orderSequence: rising.includes(kind) ? ["asc", "desc", ""] : ["desc", "asc", ""],
      type: kind === "model" ? "string" : "num",
    })),
  });

  const search = document.getElementById("search");
  const ranked = document.getElementById("ranked");
  const toggle = document.getElementById("filters");
  const count = document.getElementById("count");

  // "> 50", "<= 10", "20-40", "= 0"; anything else is words. As the cells have them, "1,000" and "50 %" are numbers.
  const test = (typed) => {
    const text = typed.replaceAll(",", "").replace(/\s*%\s*$/, "");
    const range = /^\s*(\d+(?:\.\d+)?)\s*[-–]\s*(\d+(?:\.\d+)?)\s*$/.exec(text);
    if (range) return (number) => number >= Number(range[1]) && number <= Number(range[2]);
    const bound = /^\s*(>=|<=|>|<|=|≥|≤)\s*(\d+(?:\.\d+)?)\s*$/.exec(text);
    if (!bound) return null;
    const limit = Number(bound[2]);
    return {
      ">": (number) => number > limit,
      "<": (number) => number < limit,
      "=": (number) => number === limit,
      ">=": (number) => number >= limit,
      "<=": (number) => number <= limit,
      "≥": (number) => number >= limit,
      "≤": (number) => number <= limit,
    }[bound[1]];
  };

  const filterRow = element.tHead.insertRow();
  filterRow.className = "filters";
  filterRow.hidden = true;
  const fields = heads.map((head, at) => {
    const field = document.createElement("input");
    field.type = "text";
    field.setAttribute("aria-label", `Filter ${names[at]}`);
    field.placeholder = kinds[at] === "model" ? "words" : "> 50";
    const place = document.createElement("td");
    place.append(field);
    filterRow.append(place);
    field.addEventListener("input", () => {
      filter(at);
      redraw();
    });
    return field;
  });

  const filter = (at) => {
    const text = fields[at].value.trim();
    const passes = kinds[at] === "model" ? null : test(text);
    const isUnread = kinds[at] !== "model" && !passes && /^[<>=≥≤]/.test(text);
    fields[at].setAttribute("aria-invalid", String(isUnread));
    fields[at].title = isUnread ? "not read: > 50, <= 10, 20-40 or words" : "";
    table.column(at).search.fixed("field", !text || isUnread ? null : (_, __, row) => {
      const said = words(lines[row], at).trim();
      if (text === "–") return said === text;
      if (!passes) return [said, said.replaceAll(",", "")].some((each) => each.toLowerCase().includes(text.toLowerCase()));
      const number = Number(lines[row].cells[at][1]);
      // Of what is no number, a rank counts as the highest, so that it stands last, and all else as the lowest.
      const isNumber = kinds[at] === "rank" ? number < Infinity : number > -Infinity;
      return isNumber && passes(number);
    });
  };

  const openFilters = (open) => {
    filterRow.hidden = !open;
    toggle.setAttribute("aria-expanded", String(open));
  };
  toggle.addEventListener("click", () => {
    openFilters(filterRow.hidden);
    if (!filterRow.hidden) fields[0].focus();
  });

  const apply = () => {
    table.search(search.value);
    table.search.fixed("ranked", ranked.checked ? (_, __, row) => !lines[row].suspect : null);
  };
  const redraw = () => {
    table.draw();
  };
  search.addEventListener("input", () => {
    apply();
    redraw();
  });
  ranked.addEventListener("change", () => {
    apply();
    redraw();
  });

  let reading = true;
  const write = () => {
    if (reading) return;
    const state = new URLSearchParams();
    if (search.value) state.set("search", search.value);
    if (ranked.checked) state.set("ranked", "yes");
    fields.forEach((field, at) => field.value && state.set(`filter ${names[at]}`, field.value));
    const order = table.order().filter(([, way]) => way);
    if (order.length) state.set("sort", `${names[order[0][0]]}:${order[0][1]}`);
    const text = state.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const read = () => {
    const text = location.hash.slice(1);
    if (!text.includes("=")) return;
    reading = true;
    const state = new URLSearchParams(text);
    search.value = state.get("search") ?? "";
    ranked.checked = state.get("ranked") === "yes";
    fields.forEach((field, at) => {
      field.value = state.get(`filter ${names[at]}`) ?? "";
      filter(at);
    });
    if (fields.some((field) => field.value)) openFilters(true);
    const sort = state.get("sort") ?? "";
    const at = names.indexOf(sort.slice(0, sort.lastIndexOf(":")));
    const way = sort.slice(sort.lastIndexOf(":") + 1);
    table.order(at >= 0 && ["asc", "desc"].includes(way) ? [[at, way]] : []);
    apply();
    table.draw();
    reading = false;
  };

  table.on("draw", () => {
    const shown = table.rows({ search: "applied" }).count();
    count.textContent = shown === lines.length ? `${lines.length} models` : `${shown} of ${lines.length} models`;
    write();
  });
  addEventListener("hashchange", read);
  reading = false;
  read();
  element.dataset.ready = "yes";
  performance.mark("table-ready");
})();
