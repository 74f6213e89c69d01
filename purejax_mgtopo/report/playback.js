"use strict";
// Plays recorded episodes. Times are whole steps: frame t shows the state before step t, and the edges of that step;
// the last frame is where the episode ends.
(() => {
  const replays = JSON.parse(document.getElementById("replays").textContent);
  const player = document.getElementById("player");
  if (!player || !replays.length) return;
  const find = (name) => player.querySelector(`[data-part="${name}"]`);
  const [taskBox, methodBox, seedBox] = ["task", "method", "seed"].map(find);
  const [stage, button, scrub, matrix, course, roles] = ["stage", "play", "scrub", "matrix", "course", "roles"].map(find);
  const told = Object.fromEntries(["step", "edges", "reward", "return", "agents"].map((name) => [name, find(name)]));
  const live = find("live");
  const MILLISECONDS = 280;

  let replay, step = 0, timer = null, things = [], edges = [], bits = [], claims = [], cursor = null;

  const draw = (parent, name, attributes = {}, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return parent.appendChild(node);
  };
  // The arena stays as large as it is: who flees waits at the rim.
  const rim = () => replay.extent - 60;
  const place_of = (places, t) => { const k = 2 * Math.min(t, places.length / 2 - 1); return [places[k], -places[k + 1]]; };
  const at = (places, t) => place_of(places, t).map((x) => Math.max(-rim(), Math.min(rim(), x)));
  const outside = (places, t) => place_of(places, t).some((x) => Math.abs(x) > rim());
  const open = (t, i, j) => t < replay.masks.length && replay.masks[t][i][j] === "1";
  const round = (x) => (Math.abs(x) < 0.005 ? 0 : x).toFixed(2).replace("-", "\u2212");
  const last = () => replay.masks.length;

  function choices(box, values, labels) {
    const before = box.value;
    box.replaceChildren(...values.map((value, k) => new Option(labels ? labels[k] : value, value)));
    if (values.map(String).includes(before)) box.value = before;
  }

  function narrow() {
    choices(taskBox, [...new Set(replays.map((r) => r.task))]);
    const onTask = replays.filter((r) => r.task === taskBox.value);
    choices(methodBox, [...new Set(onTask.map((r) => r.method))]);
    const runs = onTask.filter((r) => r.method === methodBox.value);
    // The standing is the value: best stays best when the method changes.
    choices(seedBox, runs.map((r) => r.standing), runs.map((r) => `${r.seed} (${r.standing})`));
    replay = runs.find((r) => r.standing === seedBox.value);
    build();
  }

  function build() {
    stop();
    const n = replay.agents, size = replay.extent;
    stage.setAttribute("viewBox", `${-size} ${-size} ${2 * size} ${2 * size}`);
    stage.replaceChildren();
    draw(stage, "rect", { class: "ground", x: -1000, y: -1000, width: 2000, height: 2000, rx: 30 });
    const layers = [draw(stage, "g"), draw(stage, "g"), draw(stage, "g")];
    things = replay.things.map((thing, k) => {
      const group = draw(layers[k < n ? 2 : 0], "g", { class: `thing ${thing.fill} ${thing.colour}` });
      draw(group, "title", {}, thing.label ? `${thing.role} ${thing.label}` : thing.role);
      draw(group, "circle", { r: thing.radius });
      const r = thing.radius;
      if (thing.fill === "crossed") draw(group, "path", { d: `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}` });
      if (thing.label) {
        const inside = r >= 0.045 * size, letter = inside ? Math.min(1.25 * r, 0.1 * size) : 0.07 * size;
        const text = draw(group, "text", { style: `font-size:${letter}px` }, thing.label);
        if (!inside) text.setAttribute("y", -r - 0.6 * letter);
      }
      return group;
    });
    claims = replay.claims.map(() => draw(layers[0], "path", { class: "claim" }));
    edges = [];
    matrix.replaceChildren();
    bits = [];
    const side = 24, left = 20, top = 38;
    matrix.setAttribute("viewBox", `0 0 200 ${top + side * n + 4}`);
    draw(matrix, "text", { x: 0, y: 12, class: "label" }, "to \u2193 \u2002from \u2192");
    for (let i = 0; i < n; i++) {
      draw(matrix, "text", { x: left + side * (i + .5), y: top - 6, "text-anchor": "middle", class: "tick" }, `${i}`);
      draw(matrix, "text", { x: left - 6, y: top + side * (i + .5) + 4, "text-anchor": "end", class: "tick" }, `${i}`);
      for (let j = 0; j < n; j++) {
        if (i === j) continue;
        edges.push({ i, j, line: draw(layers[1], "path", { class: "edge" }), tip: draw(layers[1], "path", { class: "tip" }) });
        const spot = { x: left + side * j + 2, y: top + side * i + 2, width: side - 4, height: side - 4, rx: 3 };
        bits.push(draw(matrix, "rect", { class: "bit", ...spot }));
      }
    }
    drawRoles();
    drawCourse();
    scrub.max = last();
    show(0);
  }

  function drawRoles() {
    const seen = new Map(replay.things.map((thing) => [thing.role, thing]));
    roles.replaceChildren(...[...seen.values()].filter((thing) => thing.role).map((thing) => {
      const item = document.createElement("li");
      const token = draw(item, "svg", { class: `token thing ${thing.fill} ${thing.colour}`, viewBox: "-8 -8 16 16", "aria-hidden": true });
      draw(token, "circle", { r: 6 });
      item.append(thing.role);
      return item;
    }));
  }

  function drawCourse() {
    course.replaceChildren();
    const low = Math.min(...replay.rewards, 0), high = Math.max(...replay.rewards, 0), room = high - low || 1;
    const points = replay.rewards.map((r, t) => `${(10 + 300 * t / last()).toFixed(1)} ${(62 - 52 * (r - low) / room).toFixed(1)}`);
    draw(course, "text", { x: 10, y: 80, class: "label" }, `reward of each step, ${round(low)} to ${round(high)}`);
    draw(course, "path", { class: "grid", d: `M10 ${62 - 52 * (0 - low) / room}H310` });
    draw(course, "path", { class: "course", d: `M${points.join("L")}` });
    cursor = draw(course, "path", { class: "now" });
  }

  function show(t) {
    step = Math.max(0, Math.min(last(), t));
    things.forEach((group, k) => {
      group.setAttribute("transform", `translate(${at(replay.things[k].places, step)})`);
      group.classList.toggle("outside", outside(replay.things[k].places, step));
    });
    claims.forEach((path, k) => {
      const claim = replay.claims[k], from = at(replay.things[claim.agent].places, step);
      const [x, y] = at(claim.places, step), d = 45;
      path.setAttribute("d", `M${from}L${x} ${y}M${x - d} ${y - d}l${2 * d} ${2 * d}M${x - d} ${y + d}l${2 * d} ${-2 * d}`);
    });
    let count = 0;
    edges.forEach(({ i, j, line, tip }, k) => {
      const isOpen = open(step, i, j);
      count += isOpen;
      place(line, tip, i, j);
      for (const node of [line, tip, bits[k]]) node.classList.toggle("open", isOpen);
      const weights = replay.weights[0], n = replay.agents;
      bits[k].style.fillOpacity = weights && isOpen ? 0.15 + 0.85 * weights[step][i * n + j] : "";
    });
    const ended = step === last(), total = replay.rewards.slice(0, step).reduce((a, b) => a + b, 0);
    told.step.textContent = ended ? `${step} of ${last()}, the end` : `${step} of ${last()}`;
    told.edges.textContent = ended ? "\u2013" : `${count} of ${edges.length}`;
    told.reward.textContent = ended ? "\u2013" : round(replay.rewards[step]);
    told.return.textContent = round(total);
    told.agents.textContent = Object.entries(replay.told)
      .map(([name, values]) => ended ? name : `${name} ${values[step].join(" ")}`).join(", ");
    for (const part of [told.agents, told.agents.previousElementSibling]) part.hidden = !told.agents.textContent;
    cursor.setAttribute("d", `M${10 + 300 * step / last()} 6V66`);
    scrub.value = step;
    scrub.setAttribute("aria-valuetext", `step ${step} of ${last()}, ${count} of ${edges.length} edges open`);
    if (!timer) live.textContent = scrub.getAttribute("aria-valuetext");
  }

  // An arrow from the sender j to the receiver i, bent a little so that both directions can be told apart.
  function place(line, tip, i, j) {
    const [a, b] = [j, i].map((k) => at(replay.things[k].places, step)), size = replay.extent;
    const dx = b[0] - a[0], dy = b[1] - a[1], length = Math.hypot(dx, dy) || 1, ux = dx / length, uy = dy / length;
    const start = replay.things[j].radius + 8, end = replay.things[i].radius + 0.05 * size;
    const hidden = length < start + end ? "none" : "";
    line.style.display = tip.style.display = hidden;
    if (hidden) return;
    const bend = Math.min(0.12 * length, 0.09 * size), off = 0.35 * Math.min(replay.things[i].radius, 0.08 * size);
    const nx = -uy, ny = ux;
    const p = [a[0] + ux * start + nx * off, a[1] + uy * start + ny * off];
    const q = [b[0] - ux * end + nx * off, b[1] - uy * end + ny * off];
    const m = [(p[0] + q[0]) / 2 + nx * bend, (p[1] + q[1]) / 2 + ny * bend];
    const l = Math.hypot(q[0] - m[0], q[1] - m[1]) || 1, vx = (q[0] - m[0]) / l, vy = (q[1] - m[1]) / l, w = 0.028 * size;
    line.setAttribute("d", `M${p}Q${m} ${q[0] + vx * 0.02 * size} ${q[1] + vy * 0.02 * size}`);
    tip.setAttribute("d", `M${q[0] + vx * 0.045 * size} ${q[1] + vy * 0.045 * size}L${q[0] - vy * w} ${q[1] + vx * w}L${q[0] + vy * w} ${q[1] - vx * w}z`);
  }

  function play() {
    if (timer) return;
    if (step >= last()) show(0);
    timer = setInterval(() => (step >= last() ? stop() : show(step + 1)), MILLISECONDS);
    label();
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    label();
  }
  function label() {
    button.textContent = timer ? "Pause" : "Play";
    player.dataset.playing = timer !== null;
    if (!timer && replay && told.step.textContent) live.textContent = scrub.getAttribute("aria-valuetext") || "";
  }
  const toggle = () => (timer ? stop() : play());
  const seek = (t) => { stop(); show(t); };

  button.addEventListener("click", toggle);
  scrub.addEventListener("input", () => seek(Number(scrub.value)));
  for (const box of [taskBox, methodBox, seedBox]) box.addEventListener("change", narrow);
  player.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      " ": toggle, ArrowRight: () => seek(step + 1), ArrowLeft: () => seek(step - 1), ArrowUp: () => seek(step + 1),
      ArrowDown: () => seek(step - 1), Home: () => seek(0), End: () => seek(last()),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  });
  // A tap plays or pauses; a sideways drag scrubs, a quarter of the picture being a quarter of the episode.
  let grip = null;
  stage.addEventListener("pointerdown", (event) => {
    grip = { x: event.clientX, step, moved: false };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const moved = event.clientX - grip.x;
    if (Math.abs(moved) > 8) grip.moved = true;
    if (grip.moved) seek(grip.step + Math.round(last() * moved / stage.clientWidth));
  });
  stage.addEventListener("pointerup", () => { if (grip && !grip.moved) toggle(); grip = null; });
  stage.addEventListener("pointercancel", () => { grip = null; });

  document.getElementById("idle").remove();
  player.hidden = false;
  narrow();
  // Begin with the episode that the section on the learned rule is about.
  const first = replays.find((r) => r.analysed);
  if (first) {
    for (const [box, value] of [[taskBox, first.task], [methodBox, first.method], [seedBox, first.standing]]) {
      box.value = value;
      narrow();
    }
  }
})();
