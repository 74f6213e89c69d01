"use strict";
// Values under the pointer, methods on and off, another axis, and numbers and pictures to take away. Without it the
// charts are whole, on the axis of episodes.
(() => {
  const drawn = "svg[data-series], svg[data-table]";
  const figures = [...document.querySelectorAll("figure")].filter((figure) => figure.querySelector(drawn));
  if (!figures.length) return;
  const hidden = new Set();
  const round = (x) => (x === null ? "\u2013" : String(Number(x.toPrecision(4))).replace("-", "\u2212"));
  const save = (name, text, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const shown = (figure) => figure.querySelector(drawn);
  const conceal = (within) => {
    for (const part of within.querySelectorAll("[data-line]")) part.toggleAttribute("hidden", hidden.has(part.dataset.line));
  };
  const dataOf = (svg) => JSON.parse(svg.dataset.series || svg.dataset.table);
  const label = (text) => /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;

  function csv(data) {
    const rows = data.rows ? data.rows.map((row) => row.map((cell) => typeof cell === "string" ? label(cell) : cell))
      : [["method", data.x, "value", "low", "high"]];
    for (const s of data.series || []) s.x.forEach((x, k) => rows.push([label(s.label), x, s.point[k], s.low[k], s.high[k]]));
    return rows.map((row) => row.map((cell) => (cell === null ? "" : cell)).join(",")).join("\n") + "\n";
  }

  function alone(svg) {
    const copy = svg.cloneNode(true);
    const own = [svg, ...svg.querySelectorAll("*")], copies = [copy, ...copy.querySelectorAll("*")];
    own.forEach((node, k) => {
      const style = getComputedStyle(node);
      for (const name of ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "display"])
        copies[k].style.setProperty(name, style.getPropertyValue(name));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    for (const own of ["data-series", "data-table"]) copy.removeAttribute(own);
    copy.removeAttribute("style");
    return new XMLSerializer().serializeToString(copy);
  }

  for (const figure of figures) {
    const tip = document.createElement("div");
    tip.className = "values";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    figure.append(tip);
    const tools = document.createElement("p");
    tools.className = shown(figure).dataset.series ? "tools" : "away";
    for (const kind of ["CSV", "SVG"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.addEventListener("click", () => {
        const svg = shown(figure), data = dataOf(svg), name = data.name.replace(/[^A-Za-z0-9]+/g, "_");
        if (kind === "CSV") save(`${name}.csv`, csv(data), "text/csv");
        else save(`${name}.svg`, alone(svg), "image/svg+xml");
      });
      tools.append(button);
    }
    figure.append(tools);
    const put = (event, lines) => {
      tip.replaceChildren(...lines.map((text, k) => {
        const row = document.createElement(k ? "span" : "b");
        row.textContent = text;
        return row;
      }));
      tip.hidden = false;
      const outer = figure.getBoundingClientRect();
      const left = event.clientX - outer.left;
      tip.style.left = left > outer.width / 2 ? "auto" : `${left + 14}px`;
      tip.style.right = left > outer.width / 2 ? `${outer.width - left + 14}px` : "auto";
      tip.style.top = `${event.clientY - outer.top + 10}px`;
    };
    const move = (event) => {
      const svg = event.target.closest(drawn);
      if (!svg) return;
      if (!svg.dataset.series) {
        const thing = event.target.closest("[data-tip]");
        if (thing) put(event, thing.dataset.tip.split("\n"));
        else tip.hidden = true;
        return;
      }
      const data = dataOf(svg), box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * data.width;
      const x = data.low + (at - data.left) / (data.right - data.left) * (data.high - data.low);
      const lines = [];
      let place = null;
      for (const s of data.series) {
        if (hidden.has(s.label) || !s.x.length) continue;
        let k = 0;
        s.x.forEach((value, i) => { if (Math.abs(value - x) < Math.abs(s.x[k] - x)) k = i; });
        place = place === null ? s.x[k] : place;
        const band = s.low[k] === null ? "" : ` [${round(s.low[k])}, ${round(s.high[k])}]`;
        lines.push([s.label, `${round(s.point[k])}${band}`, s.point[k]]);
      }
      lines.sort((a, b) => b[2] - a[2]);
      put(event, [`${data.x} ${round(place === null ? x : place)}`, ...lines.map(([name, value]) => `${name} ${value}`)]);
    };
    figure.addEventListener("pointermove", move);
    figure.addEventListener("pointerdown", move);
    // A finger that is lifted leaves too, and what it asked for stays until another place is touched.
    figure.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") tip.hidden = true; });
    document.addEventListener("pointerdown", (event) => { if (!figure.contains(event.target)) tip.hidden = true; });
  }

  for (const item of document.querySelectorAll("[data-method]")) {
    const name = item.dataset.method, button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.title = "show or hide in all charts";
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => {
      if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      conceal(document);
    });
  }

  const axis = document.getElementById("axis");
  if (axis) {
    axis.hidden = false;
    const each = document.getElementById("each");
    each.addEventListener("change", () => document.body.classList.toggle("each-seed", each.checked));
    const select = axis.querySelector("select");
    const charts = new Map(figures.map((figure) => {
      const kept = figure.querySelector("template");
      return [figure, kept ? [shown(figure), ...kept.content.querySelectorAll("svg[data-axis]")] : []];
    }));
    select.addEventListener("change", () => {
      for (const [figure, own] of charts) {
        const wanted = own.find((svg) => svg.dataset.axis === select.value);
        if (!wanted) continue;
        shown(figure).replaceWith(wanted);
        conceal(figure);
      }
    });
  }
})();
