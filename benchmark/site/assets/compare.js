// Two models side by side. Every number was computed when the site was made; here they are looked up, swapped and shown.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const [board, first, second] = [by("board"), by("a"), by("b")];
  const result = by("result");
  const said = by("said");
  const loaded = new Map();
  const SHOWN = 6;

  const load = (slug) => {
    if (!loaded.has(slug)) {
      loaded.set(
        slug,
        new Promise((resolve, reject) => {
          const script = document.createElement("script");
          script.src = `data/${slug}.js`;
          script.onload = () => resolve(window.robustboard[slug]);
          script.onerror = () => reject(new Error(slug));
          document.head.append(script);
        }),
      );
    }
    return loaded.get(slug);
  };

  const make = (tag, text, options = {}) => {
    const made = Object.assign(document.createElement(tag), options);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const signed = (points) => (points > 0 ? `+${points.toFixed(1)}` : points < 0 ? `−${(-points).toFixed(1)}` : "0.0");

  // The numbers of B against A, from those of the pair as it was stored.
  const pairOf = (data, a, b, key) => {
    const found = (data.pairs[`${Math.min(a, b)},${Math.max(a, b)}`] ?? {})[key];
    if (!found || a < b) return found;
    const [both, lost, gained, neither, difference, low, high, ...told] = found;
    const counts = [both, gained, lost, neither];
    return found.length > 4 ? [...counts, -difference, -high, -low, ...told] : counts;
  };

  const flips = (data, a, b, key) => {
    const [ours, theirs] = [data.models[a].robust[key], data.models[b].robust[key]];
    const only = (sign, other) => data.examples[key].filter((_, at) => ours[at] === sign && theirs[at] === other);
    return [["A", only("1", "0")], ["B", only("0", "1")]].filter(([, found]) => found.length);
  };

  // The first images of each side; the others open at a click.
  const flipped = (sides) => {
    const cell = make("td", sides.length ? undefined : "–", { className: "words" });
    sides.forEach(([name, found]) => {
      const first = `${name}: ${found.slice(0, SHOWN).join(", ")}`;
      if (found.length <= SHOWN) {
        cell.append(make("div", first));
        return;
      }
      const all = make("details");
      all.append(make("summary", `${first} and ${found.length - SHOWN} more`), make("span", found.slice(SHOWN).join(", ")));
      cell.append(all);
    });
    return cell;
  };

  const bar = (counts) => {
    const n = counts.reduce((sum, count) => sum + count, 0);
    const drawn = make("div", undefined, { className: "bar" });
    drawn.setAttribute("aria-hidden", "true");
    counts.forEach((count, at) => {
      const part = make("span", undefined, { className: `part${at}` });
      part.style.width = `${(100 * count) / n}%`;
      drawn.append(part);
    });
    return drawn;
  };

  const row = (data, a, b, column, at) => {
    const made = make("tr");
    made.append(Object.assign(make("th", column.header), { scope: "row" }));
    [a, b].forEach((model) => {
      const [text, interval] = data.models[model].cells[at];
      const cell = make("td", text);
      if (interval) cell.append(make("span", interval, { className: "interval" }));
      made.append(cell);
    });
    const numbers = column.key ? pairOf(data, a, b, column.key) : undefined;
    if (!numbers) {
      const why = !column.key ? "" : a === b ? "the same" : data.models.length > data.most ? "not tested here" : "not on the same images";
      made.append(make("td", why, { className: "faint" }), ...[0, 1, 2, 3].map(() => make("td", "")));
      return made;
    }
    const [both, lost, gained, neither, difference, low, high, p, holm, apart] = numbers;
    if (numbers.length > 4) {
      const told = make("td", signed(difference));
      told.append(make("span", `[${signed(low)}, ${signed(high)}]`, { className: "interval" }));
      made.append(told, make("td", p), make("td", holm, { className: apart ? "apart" : "" }));
    } else {
      made.append(make("td", "a bound: not tested", { className: "faint" }), make("td", "–"), make("td", "–"));
    }
    const counts = make("td", `${both} · ${lost} · ${gained} · ${neither}`);
    counts.append(bar([both, lost, gained, neither]));
    made.append(counts, flipped(flips(data, a, b, column.key)));
    return made;
  };

  // A word for a shell, as Python's shlex writes it.
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

  const sidePictures = (data, a, b) => {
    const place = by("side");
    place.replaceChildren();
    [a, b].forEach((at) => {
      const model = data.models[at];
      const column = make("div");
      const heading = make("h2");
      heading.append(make("a", model.name, { href: `models/${data.slug}/${model.slug}.html` }));
      column.append(heading);
      model.pictures.forEach((picture) => {
        const figure = make("figure", undefined, picture.photo ? { className: "photo" } : {});
        const link = make("a", undefined, { href: picture.path });
        const alt = `${picture.heading} of ${model.name}`;
        link.append(make("img", undefined, { src: picture.path, width: picture.width, height: picture.height, alt, loading: "lazy" }));
        figure.append(link);
        column.append(figure);
      });
      place.append(column);
    });
  };

  const show = (data) => {
    const [a, b] = [first.selectedIndex, second.selectedIndex];
    const [ours, theirs] = [data.models[a], data.models[b]];
    history.replaceState(null, "", `#${data.slug}/${ours.slug}/${theirs.slug}`);
    document.title = `${ours.name} and ${theirs.name} · Robustboard`;
    const marks = [["A", ours], ["B", theirs]].flatMap(([side, model]) => model.marks.map((mark) => `${side}, ${model.name}: ${mark}.`));
    by("marks").replaceChildren(...marks.map((mark) => make("li", mark)));
    by("compared").tBodies[0].replaceChildren(...data.columns.slice(1).map((column, at) => row(data, a, b, column, at + 1)));
    const dataset = data.dataset;
    by("command").textContent = `robustboard compare ${quoted(`${dataset}/${ours.name}`)} ${quoted(`${dataset}/${theirs.name}`)}`;
    said.textContent = a === b ? "A and B are the same model." : verdict(data, a, b);
    sidePictures(data, a, b);
    result.hidden = false;
  };

  const doubt = (side, model) => {
    const [reason, ...more] = model.marks.filter((mark) => mark.startsWith("▲")).map((mark) => mark.slice(2));
    return `${side}, ${model.name} ▲, is in doubt and not to be ranked: ${reason}${more.length ? `; and ${more.length} more` : ""}.`;
  };

  const verdict = (data, a, b) => {
    const sides = [["A", data.models[a]], ["B", data.models[b]]];
    const doubts = sides.filter(([, model]) => model.suspect).map(([side, model]) => doubt(side, model));
    if (doubts.length) return doubts.join(" ");
    const worst = data.columns.find((column) => column.key.startsWith("worst_case") && pairOf(data, a, b, column.key));
    if (data.models.length > data.most) return `This board has more than ${data.most} models: no pair is tested here.`;
    if (!worst) return "The two have no worst case of the same images: only single attacks are compared.";
    const numbers = pairOf(data, a, b, worst.key);
    if (numbers.length < 5) return `${worst.header}: one of the two is no more than a bound, nothing is tested.`;
    const [, lost, gained, , , , , p, holm, apart] = numbers;
    const ahead = gained > lost ? "B" : "A";
    const said = apart ? `${ahead} withstands significantly more` : "tied";
    const how = `p ${p}, ${holm} after the correction for the rows below`;
    return `${worst.header}: ${said}, ${lost} images A alone, ${gained} B alone (${how}).${onTheBoard(data, a, b, worst.key, apart)}`;
  };

  // The board corrects for all of its pairs, this page for the columns of one: they need not agree.
  const onTheBoard = (data, a, b, key, apart) => {
    const isApart = data.ranked.apart.includes(`${Math.min(a, b)},${Math.max(a, b)}`);
    if (key !== data.ranked.key || isApart === apart) return "";
    return ` The board, corrected for all pairs of its models, ${isApart ? "tells them apart" : "ties them"}.`;
  };

  const fill = (data) => {
    [first, second].forEach((select) => {
      select.replaceChildren(...data.models.map((model) => new Option(`${model.name} ${model.sign}`.trim(), model.slug)));
    });
    second.selectedIndex = Math.min(1, data.models.length - 1);
  };

  const open = async (slug, a, b) => {
    let data;
    try {
      data = await load(slug);
    } catch {
      said.textContent = "The board's data could not be loaded.";
      return false;
    }
    board.value = slug;
    fill(data);
    const unknown = [];
    [[first, a], [second, b]].forEach(([select, wanted]) => {
      if (wanted === undefined) return;
      const at = data.models.findIndex((model) => model.slug === wanted);
      if (at >= 0) select.selectedIndex = at;
      else unknown.push(wanted);
    });
    if (!data.models.length) {
      said.textContent = "No model of this board has results.";
      result.hidden = true;
      return false;
    }
    show(data);
    if (unknown.length) said.textContent = `This board has no ${unknown.join(" and no ")}: another is shown.`;
    result.dataset.ready = "yes";
    return true;
  };

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // No board is called so.
    }
  };

  const fromAddress = async () => {
    const [slug, a, b] = decoded(location.hash.slice(1)).split("/");
    const known = [...board.options].some((option) => option.value === slug);
    if (known) {
      await open(slug, a, b);
      return;
    }
    const isShown = board.options.length > 0 && (await open(board.options[0].value));
    if (slug && isShown) said.textContent = `There is no board ${slug}: another is shown.`;
  };

  board.addEventListener("change", () => open(board.value));
  [first, second].forEach((select) => select.addEventListener("change", async () => show(await load(board.value))));
  by("swap").addEventListener("click", async () => {
    [first.selectedIndex, second.selectedIndex] = [second.selectedIndex, first.selectedIndex];
    show(await load(board.value));
  });
  by("choose").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", fromAddress);
  fromAddress();
})();
