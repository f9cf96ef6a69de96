"use strict";
// The map of items. Titles are data from elsewhere: they are only ever set as text or drawn.
(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("map-data").textContent);
  if (!data || !element("map")) return;

  const map = element("map"), stage = element("map-stage"), canvas = element("map-canvas");
  const tip = element("map-tip"), panel = element("map-panel"), legend = element("map-legend");
  const query = element("map-query"), found = element("map-found");
  const ground = element("map-ground"), groundPen = ground.getContext("2d"), pen = canvas.getContext("2d");
  const inReport = !document.body.classList.contains("map-page");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  const n = data.titles.length;
  const xs = Float64Array.from(data.x), ys = Float64Array.from(data.y);
  const ratings = Uint32Array.from(data.ratings);
  const mostRatings = Math.max(1, topOf(ratings));
  const byRatings = Uint32Array.from(ratings.keys()).sort((a, b) => ratings[b] - ratings[a] || a - b);
  const rank = new Uint32Array(n);
  byRatings.forEach((item, place) => { rank[item] = place; });
  const nColours = Math.min(data.genres.length, data.colours.light.genres.length);
  const OTHER = nColours;
  const group = Uint8Array.from(data.genre, (genre) => (genre >= 0 && genre < nColours ? genre : OTHER));
  const groupShown = new Array(nColours + 1).fill(true);
  const widestBias = quantile(data.bias.map(Math.abs), 0.98) || 1;
  const BIAS_STEPS = 9;
  const biasStep = Uint8Array.from(data.bias, (bias) =>
    Math.round((Math.max(-1, Math.min(1, bias / widestBias)) + 1) / 2 * (BIAS_STEPS - 1)));
  const nearestAt = new Map(data.nearestOf.map((item, place) => [item, place]));
  const searchable = data.titles.map(plain);

  let colourBy = data.genres.length ? "genre" : "bias";
  let least = 0;
  let chosen = -1, near = [], hovered = -1;
  let width = 0, height = 0;
  let view = null; // { x, y: what is in the middle; scale: pixels per unit }
  let whole = null;
  let theme = null;
  let drawing = 0, picture = null;

  // ---- small helpers -------------------------------------------------------------------------

  function topOf(values) {
    let top = 0;
    for (const value of values) if (value > top) top = value;
    return top;
  }

  function quantile(values, share) {
    const sorted = Float64Array.from(values).sort();
    return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : 0;
  }

  function plain(text) {
    return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  }

  function make(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made && !name.startsWith("aria")) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const count = (value) => value.toLocaleString("en");
  const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const genresOf = (item) => data.genreTexts[data.genreText[item]].split("|").join(", ");

  function cut(text, length) {
    const letters = Array.from(text);
    return letters.length > length ? letters.slice(0, length - 1).join("") + "…" : text;
  }

  // ---- colours -------------------------------------------------------------------------------

  const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

  function mix(from, to, share) {
    const end = channels(to);
    return "#" + channels(from).map((value, at) => Math.round(value + (end[at] - value) * share)
      .toString(16).padStart(2, "0")).join("");
  }

  function readTheme() {
    const colours = dark.matches ? data.colours.dark : data.colours.light;
    const style = getComputedStyle(map);
    const [low, middle, high] = colours.bias;
    theme = {
      genres: [...colours.genres.slice(0, nColours), colours.other],
      bias: Array.from({ length: BIAS_STEPS }, (_, step) => {
        const at = step / (BIAS_STEPS - 1) * 2 - 1;
        return at < 0 ? mix(middle, low, -at) : mix(middle, high, at);
      }),
      ink: style.getPropertyValue("--ink").trim(),
      faint: style.getPropertyValue("--faint").trim(),
      line: style.getPropertyValue("--line").trim(),
      paper: style.getPropertyValue("--paper").trim(),
    };
  }

  // ---- the view ------------------------------------------------------------------------------

  const screenX = (x) => (x - view.x) * view.scale + width / 2;
  const screenY = (y) => (view.y - y) * view.scale + height / 2;
  const dataX = (x) => (x - width / 2) / view.scale + view.x;
  const dataY = (y) => view.y - (y - height / 2) / view.scale;

  const sortedX = Float64Array.from(xs).sort(), sortedY = Float64Array.from(ys).sort();

  // The view that holds all items but a share at each end of each direction.
  function viewOf(share) {
    const cutOff = Math.floor(share * n);
    const left = sortedX[cutOff], right = sortedX[n - 1 - cutOff], low = sortedY[cutOff], high = sortedY[n - 1 - cutOff];
    const margin = Math.min(48, 0.08 * Math.min(width, height));
    // One scale for both directions: distances mean something.
    const scale = Math.min((width - 2 * margin) / (right - left || 1e-9), (height - 2 * margin) / (high - low || 1e-9));
    return { x: (left + right) / 2, y: (low + high) / 2, scale };
  }

  // A narrow screen begins with the middle of the map: the whole would be a thin band.
  const firstView = () => (width < 0.8 * height ? viewOf(0.02) : { ...whole });

  function clamp(wanted) {
    return {
      x: wanted.x, y: wanted.y,
      scale: Math.max(whole.scale / 3, Math.min(whole.scale * 400, wanted.scale)),
    };
  }

  function zoomAt(x, y, factor) {
    const before = [dataX(x), dataY(y)];
    view = clamp({ ...view, scale: view.scale * factor });
    view.x = before[0] - (x - width / 2) / view.scale;
    view.y = before[1] + (y - height / 2) / view.scale;
    redraw();
  }

  function panBy(dx, dy) {
    view.x -= dx / view.scale;
    view.y += dy / view.scale;
    redraw();
  }

  let flight = 0;

  function flyTo(target) {
    target = clamp(target);
    const mine = ++flight;
    if (still.matches) {
      view = target;
      redraw();
      return;
    }
    const start = view, began = performance.now();
    const step = (now) => {
      if (mine !== flight) return;
      const passed = Math.max(0, Math.min(1, (now - began) / 280)), share = passed * passed * (3 - 2 * passed);
      const scale = start.scale * Math.pow(target.scale / start.scale, share);
      view = { x: start.x + (target.x - start.x) * share, y: start.y + (target.y - start.y) * share, scale };
      draw();
      if (passed < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // ---- drawing -------------------------------------------------------------------------------

  const isShown = (item) => ratings[item] >= least && groupShown[group[item]];

  const weight = Float64Array.from(ratings, (each) => 1.4 + 7 * Math.sqrt(each / mostRatings));

  // Points grow a little with the zoom, and shrink in a crowd and on a small screen.
  function radiusUnit() {
    const zoom = Math.min(2.2, Math.max(0.8, Math.pow(view.scale / whole.scale, 0.25)));
    return zoom * Math.min(1, 0.55 + 900 / (n + 900)) * Math.min(1, Math.max(0.7, width / 900));
  }

  const radius = (item) => radiusUnit() * weight[item];

  function redraw() {
    flight++;
    if (!drawing) drawing = requestAnimationFrame(() => { drawing = 0; draw(); });
  }

  function draw() {
    if (!width || !height || !view) return;
    const density = canvas.width / width;
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, height);
    drawPoints(density);
    nameAxes();
    if (chosen >= 0) drawChosen();
    else if (hovered >= 0) ring(hovered, 2);
    drawLabels();
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) drawCross();
  }

  function nameAxes() {
    pen.fillStyle = theme.faint;
    pen.font = "12px system-ui, sans-serif";
    const share = (at) => `direction ${at + 1} (${Math.round(100 * data.explained[at])} %)`;
    pen.textAlign = "left"; pen.textBaseline = "bottom";
    pen.fillText(`${share(0)} →`, 10, height - 8);
    pen.save();
    pen.translate(10, height - 34);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "top";
    pen.fillText(`${share(1)} →`, 0, 0);
    pen.restore();
    drawScale();
  }

  // A ruler: how long a given difference in score is on the screen.
  function drawScale() {
    if (width < 420) return;
    const rough = 110 / view.scale, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= rough);
    const pixels = length * view.scale, right = width - 64, y = height - 12.5;
    pen.strokeStyle = theme.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(right - pixels, y - 4); pen.lineTo(right - pixels, y); pen.lineTo(right, y); pen.lineTo(right, y - 4);
    pen.stroke();
    pen.textAlign = "right"; pen.textBaseline = "bottom";
    pen.fillText(`${Number(length.toPrecision(1))} ${data.unit}`, right, y - 5);
  }

  // Points and axes are set pixel by pixel on a canvas below the one of the names: sixty thousand
  // discs take some twenty milliseconds that way, ten times less than with the canvas's own arcs.
  const discs = new Map();
  const STEPS = 4, PHASES = 2; // radii and centres of discs, in parts of a pixel

  // How much each pixel of a small square is covered by a disc, in 1/256.
  function disc(size, phaseX, phaseY) {
    const key = (size * PHASES + phaseX) * PHASES + phaseY;
    if (!discs.has(key)) {
      const r = size / STEPS, reach = Math.ceil(r + 1), side = 2 * reach + 1, cover = new Uint16Array(side * side);
      for (let row = 0; row < side; row++) {
        for (let column = 0; column < side; column++) {
          const away = Math.hypot(column - reach - phaseX / PHASES, row - reach - phaseY / PHASES);
          cover[row * side + column] = 256 * Math.max(0, Math.min(1, r + 0.5 - away));
        }
      }
      discs.set(key, { reach, side, cover });
    }
    return discs.get(key);
  }

  function setDisc(pixels, wide, high, x, y, size, colour, alpha) {
    const column = Math.floor(x), row = Math.floor(y);
    const { reach, side, cover } = disc(size, Math.floor((x - column) * PHASES), Math.floor((y - row) * PHASES));
    const left = column - reach, top = row - reach;
    const fromX = Math.max(0, -left), toX = Math.min(side, wide - left);
    const fromY = Math.max(0, -top), toY = Math.min(side, high - top);
    const [red, green, blue] = colour;
    for (let v = fromY; v < toY; v++) {
      let at = ((top + v) * wide + left + fromX) * 4;
      for (let u = fromX; u < toX; u++, at += 4) {
        const share = cover[v * side + u] * alpha;
        if (!share) continue;
        pixels[at] += (red - pixels[at]) * share / 65536;
        pixels[at + 1] += (green - pixels[at + 1]) * share / 65536;
        pixels[at + 2] += (blue - pixels[at + 2]) * share / 65536;
      }
    }
  }

  function drawPoints(density) {
    const wide = ground.width, high = ground.height;
    if (!picture || picture.width !== wide || picture.height !== high) picture = groundPen.createImageData(wide, high);
    const pixels = picture.data, paper = channels(theme.paper), line = channels(theme.line);
    const set = (at, [red, green, blue]) => {
      pixels[at] = red; pixels[at + 1] = green; pixels[at + 2] = blue; pixels[at + 3] = 255;
    };
    set(0, paper);
    const whole32 = new Uint32Array(pixels.buffer);
    whole32.fill(whole32[0]);
    const axisRow = Math.round(screenY(0) * density), axisColumn = Math.round(screenX(0) * density);
    if (axisRow >= 0 && axisRow < high) for (let u = 0; u < wide; u++) set((axisRow * wide + u) * 4, line);
    if (axisColumn >= 0 && axisColumn < wide) for (let v = 0; v < high; v++) set((v * wide + axisColumn) * 4, line);

    const colours = (colourBy === "genre" ? theme.genres : theme.bias).map(channels);
    const colourOf = colourBy === "genre" ? group : biasStep;
    const unit = radiusUnit() * density * STEPS, alpha = chosen >= 0 ? 72 : 205;
    for (let place = 0; place < n; place++) { // most rated first: small points end on top of large ones
      const item = byRatings[place];
      if (!isShown(item)) continue;
      const x = screenX(xs[item]) * density, y = screenY(ys[item]) * density;
      const size = Math.round(unit * weight[item]), r = size / STEPS;
      if (x < -r || y < -r || x > wide + r || y > high + r) continue;
      if (r > 3 * density && chosen < 0) setDisc(pixels, wide, high, x, y, size + Math.round(0.8 * STEPS * density), paper, 160);
      setDisc(pixels, wide, high, x, y, size, colours[colourOf[item]], alpha);
    }
    groundPen.putImageData(picture, 0, 0);
  }

  function dot(item) {
    pen.fillStyle = colourBy === "genre" ? theme.genres[group[item]] : theme.bias[biasStep[item]];
    pen.beginPath();
    pen.arc(screenX(xs[item]), screenY(ys[item]), Math.max(3, radius(item)), 0, 2 * Math.PI);
    pen.fill();
  }

  function ring(item, thickness) {
    pen.strokeStyle = theme.ink;
    pen.lineWidth = thickness;
    pen.beginPath();
    pen.arc(screenX(xs[item]), screenY(ys[item]), Math.max(3, radius(item) + 0.5), 0, 2 * Math.PI);
    pen.stroke();
  }

  function drawChosen() {
    pen.strokeStyle = theme.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const item of near) {
      pen.moveTo(screenX(xs[chosen]), screenY(ys[chosen]));
      pen.lineTo(screenX(xs[item]), screenY(ys[item]));
    }
    pen.stroke();
    for (const item of near) { dot(item); ring(item, 1); }
    dot(chosen);
    ring(chosen, 2.5);
    if (hovered >= 0 && hovered !== chosen) { dot(hovered); ring(hovered, 1.5); }
  }

  // Names of the most rated items in sight, each where it covers no other name.
  function drawLabels() {
    const wanted = chosen >= 0 ? [chosen, ...near] : [];
    const most = wanted.length + Math.max(8, Math.min(34, Math.round(width * height / 26000)));
    const taken = [];
    if (!panel.hidden) taken.push(panelBox());
    const already = taken.length;
    pen.textAlign = "left"; pen.textBaseline = "middle";
    pen.lineJoin = "round";
    const place = (item, loud) => {
      const x = screenX(xs[item]), y = screenY(ys[item]), gap = Math.max(3, radius(item)) + 4;
      if (x < 0 || y < 0 || x > width || y > height) return false;
      pen.font = `${item === chosen ? "600 " : ""}${loud ? 13 : 12}px system-ui, sans-serif`;
      const label = cut(data.titles[item], width < 500 ? 24 : 34);
      const w = pen.measureText(label).width, h = 15;
      const places = [[x + gap, y], [x - gap - w, y], [x - w / 2, y - gap - 6], [x - w / 2, y + gap + 6]];
      for (const [left, middle] of places) {
        const box = [left - 2, middle - h / 2, left + w + 2, middle + h / 2];
        if (box[0] < 2 || box[1] < 2 || box[2] > width - 2 || box[3] > height - 24) continue;
        if (box[2] > width - 52 && box[3] > height - 140) continue; // the zoom buttons
        if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
        taken.push(box);
        if (!loud && chosen < 0) { pen.globalAlpha = 0.8; ring(item, 1); }
        pen.lineWidth = 3;
        pen.strokeStyle = theme.paper;
        pen.globalAlpha = 0.85;
        pen.strokeText(label, left, middle);
        pen.globalAlpha = loud || chosen < 0 ? 1 : 0.45;
        pen.fillStyle = theme.ink;
        pen.fillText(label, left, middle);
        pen.globalAlpha = 1;
        return true;
      }
      return false;
    };
    for (const item of wanted) place(item, true);
    const special = new Set(wanted);
    let tries = 0;
    for (let at = 0; at < n && taken.length - already < most && tries < 400; at++) {
      const item = byRatings[at];
      if (!isShown(item) || special.has(item)) continue;
      const x = screenX(xs[item]), y = screenY(ys[item]);
      if (x < 0 || y < 0 || x > width || y > height) continue;
      tries++;
      place(item, false);
    }
  }

  function drawCross() {
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(width / 2 - 9, height / 2); pen.lineTo(width / 2 + 9, height / 2);
    pen.moveTo(width / 2, height / 2 - 9); pen.lineTo(width / 2, height / 2 + 9);
    pen.stroke();
  }

  // ---- finding the item at a place -----------------------------------------------------------

  // A grid of cells over the data, each with its items, so that a move of the mouse is O(1).
  const cells = (() => {
    const side = Math.max(1, Math.floor(Math.sqrt(n / 4)));
    const left = sortedX[0], right = sortedX[n - 1], low = sortedY[0], high = sortedY[n - 1];
    const across = (right - left) / side || 1, up = (high - low) / side || 1;
    const inside = (at) => Math.max(0, Math.min(side - 1, at));
    const column = (x) => inside(Math.floor((x - left) / across));
    const row = (y) => inside(Math.floor((y - low) / up));
    const lists = Array.from({ length: side * side }, () => []);
    for (let item = 0; item < n; item++) lists[row(ys[item]) * side + column(xs[item])].push(item);
    return { lists, side, column, row };
  })();

  function itemAt(x, y, reach) {
    const around = reach + radius(byRatings[0]);
    const columns = [cells.column(dataX(x - around)), cells.column(dataX(x + around))];
    const rows = [cells.row(dataY(y + around)), cells.row(dataY(y - around))];
    let best = -1, closest = Infinity;
    for (let row = rows[0]; row <= rows[1]; row++) {
      for (let column = columns[0]; column <= columns[1]; column++) {
        for (const item of cells.lists[row * cells.side + column]) {
          if (!isShown(item) && item !== chosen && !near.includes(item)) continue;
          const away = Math.hypot(screenX(xs[item]) - x, screenY(ys[item]) - y);
          // Inside a point the smaller one wins: it lies on top.
          const gap = Math.max(away - radius(item), 0) + away * 0.02;
          if (gap < closest && away - radius(item) <= reach) { closest = gap; best = item; }
        }
      }
    }
    return best;
  }

  // ---- tip and panel -------------------------------------------------------------------------

  function factsOf(item) {
    return `bias ${signed(data.bias[item])} · ${plural(ratings[item], "rating")}`;
  }

  function showTip(item, x, y) {
    tip.hidden = item < 0;
    if (item < 0) return;
    const genres = genresOf(item);
    tip.replaceChildren(make("strong", { dir: "auto", textContent: data.titles[item] }));
    if (genres) tip.append(make("span", { textContent: genres }));
    tip.append(make("span", { textContent: factsOf(item) }));
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, width - box.width - 4))}px`;
    tip.style.top = `${y + 18 + box.height > height ? Math.max(4, y - box.height - 12) : y + 18}px`;
  }

  function hover(item, x, y) {
    showTip(item, x, y);
    canvas.classList.toggle("over", item >= 0);
    if (item !== hovered) {
      hovered = item;
      redraw();
    }
  }

  function choose(item) {
    chosen = item;
    near = [];
    const at = nearestAt.get(item);
    const cosines = new Map();
    if (at !== undefined) {
      for (let place = at * data.nearestEach; place < (at + 1) * data.nearestEach; place++) {
        if (data.nearest[place] < 0) continue;
        near.push(data.nearest[place]);
        cosines.set(data.nearest[place], data.cosines[place]);
      }
    }
    panel.hidden = item < 0;
    map.classList.toggle("has-chosen", item >= 0);
    hover(-1, 0, 0);
    if (item >= 0) fillPanel(item, cosines, at !== undefined);
    redraw();
  }

  function fillPanel(item, cosines, stored) {
    const close = make("button", { type: "button", className: "close", "aria-label": "Close", textContent: "×" });
    close.addEventListener("click", () => { choose(-1); canvas.focus({ preventScroll: true }); });
    const genres = genresOf(item);
    panel.replaceChildren(close, make("h3", { dir: "auto", textContent: data.titles[item] }));
    if (genres) panel.append(make("p", { textContent: genres }));
    panel.append(make("p", { className: "facts", textContent: `${factsOf(item)} · id ${data.ids[item]}` }));
    if (!near.length) {
      panel.append(make("p", {
        textContent: stored ? "No other item has factors." : "No nearest items are stored for it.",
      }));
      return;
    }
    panel.append(make("h4", { textContent: "Nearest by all factors" }));
    const list = make("ol", {});
    for (const other of near) {
      const row = make("button", { type: "button" },
        make("span", { className: "name", dir: "auto", textContent: data.titles[other] }),
        make("span", { className: "number", textContent: (cosines.get(other) / 100).toFixed(2) }));
      row.addEventListener("click", () => goTo(other));
      row.addEventListener("pointerenter", () => { hovered = other; redraw(); });
      row.addEventListener("pointerleave", () => { hovered = -1; redraw(); });
      list.append(make("li", {}, row));
    }
    panel.append(list);
    panel.scrollTop = 0;
  }

  // Where the panel lies on the map, and the larger part beside it: [left, top, right, bottom].
  function panelBox() {
    const box = panel.getBoundingClientRect(), from = stage.getBoundingClientRect();
    return [box.left - from.left, box.top - from.top, box.right - from.left, box.bottom - from.top];
  }

  function free() {
    if (panel.hidden) return [0, 0, width, height];
    const [left, top] = panelBox();
    return left > top ? [0, 0, left, height] : [0, 0, width, top];
  }

  function goTo(item) {
    choose(item);
    const [left, top, right, bottom] = free();
    // Wide enough to see the item among its neighbours, but not so wide that it is lost.
    let reach = 0;
    for (const other of near) reach = Math.max(reach, Math.hypot(xs[other] - xs[item], ys[other] - ys[item]));
    const fitting = reach ? 0.42 * Math.min(right - left, bottom - top) / reach : whole.scale * 4;
    const scale = Math.max(whole.scale, Math.min(fitting, whole.scale * 8));
    flyTo({
      x: xs[item] + (width / 2 - (left + right) / 2) / scale,
      y: ys[item] - (height / 2 - (top + bottom) / 2) / scale,
      scale,
    });
  }

  // ---- search --------------------------------------------------------------------------------

  let hits = [], active = -1;

  function search(text) {
    const words = plain(text).split(/[\s,]+/).filter(Boolean);
    if (!words.length) return [];
    const scored = [];
    for (let item = 0; item < n; item++) {
      const title = searchable[item];
      let score = data.ids[item] === text.trim() ? 100 : 0;
      if (!score) {
        for (const word of words) {
          const at = title.indexOf(word);
          if (at < 0) { score = -1; break; }
          score += at === 0 || title.includes(" " + word) ? 2 : 1;
        }
      }
      if (score > 0) scored.push([score, item]);
    }
    scored.sort((a, b) => b[0] - a[0] || rank[a[1]] - rank[b[1]]);
    return scored.slice(0, 8).map((pair) => pair[1]);
  }

  function showHits() {
    hits = search(query.value);
    active = hits.length ? 0 : -1;
    found.replaceChildren(...hits.map((item, at) => {
      const row = make("li", { id: `map-hit-${at}`, role: "option" },
        make("span", { className: "name", dir: "auto", textContent: data.titles[item] }),
        make("span", { className: "number", textContent: count(ratings[item]) }));
      row.addEventListener("pointerdown", (event) => { event.preventDefault(); take(at); });
      return row;
    }));
    if (!hits.length && query.value.trim()) {
      found.append(make("li", { className: "nothing", textContent: "No title has these words" }));
    }
    found.hidden = !query.value.trim();
    query.setAttribute("aria-expanded", String(!found.hidden));
    markActive();
  }

  function markActive() {
    hits.forEach((_, at) => found.children[at].setAttribute("aria-selected", String(at === active)));
    if (active >= 0) query.setAttribute("aria-activedescendant", `map-hit-${active}`);
    else query.removeAttribute("aria-activedescendant");
  }

  function closeHits() {
    found.hidden = true;
    query.setAttribute("aria-expanded", "false");
    query.removeAttribute("aria-activedescendant");
  }

  function take(at) {
    if (at < 0 || at >= hits.length) return;
    query.value = data.titles[hits[at]];
    closeHits();
    goTo(hits[at]);
  }

  query.addEventListener("input", showHits);
  query.addEventListener("focus", () => { if (query.value.trim()) showHits(); });
  query.addEventListener("blur", closeHits);
  query.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!hits.length) return;
      active = (active + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length;
      markActive();
    } else if (event.key === "Enter") take(active);
    else if (event.key === "Escape") { closeHits(); choose(-1); }
    else return;
    event.preventDefault();
  });

  // ---- legend and controls -------------------------------------------------------------------

  function buildLegend() {
    legend.replaceChildren();
    if (colourBy === "bias") {
      legend.append(make("span", { className: "number", textContent: signed(-widestBias) }));
      for (const colour of theme.bias) {
        const patch = make("span", { className: "patch" });
        patch.style.backgroundColor = colour;
        legend.append(patch);
      }
      legend.append(make("span", { className: "number", textContent: signed(widestBias) }),
        make("span", { className: "note", textContent: `item bias, ${data.unit}` }));
      return;
    }
    const sizes = new Array(nColours + 1).fill(0);
    for (let item = 0; item < n; item++) sizes[group[item]]++;
    for (let at = 0; at <= nColours; at++) {
      if (!sizes[at]) continue;
      const swatch = make("span", { className: "swatch" });
      swatch.style.backgroundColor = theme.genres[at];
      const toggle = make("button", { type: "button", className: "genre", "aria-pressed": String(groupShown[at]) },
        swatch, make("span", { textContent: at === OTHER ? "other" : cut(data.genres[at], 24) }),
        make("span", { className: "number", textContent: count(sizes[at]) }));
      toggle.addEventListener("click", () => {
        groupShown[at] = !groupShown[at];
        toggle.setAttribute("aria-pressed", String(groupShown[at]));
        redraw();
      });
      toggle.addEventListener("dblclick", () => {
        groupShown.fill(false);
        groupShown[at] = true;
        buildLegend();
        redraw();
      });
      legend.append(toggle);
    }
    const all = make("button", { type: "button", className: "genre all", textContent: "all" });
    all.addEventListener("click", () => { groupShown.fill(true); buildLegend(); redraw(); });
    const none = make("button", { type: "button", className: "genre all", textContent: "none" });
    none.addEventListener("click", () => { groupShown.fill(false); buildLegend(); redraw(); });
    legend.append(all, none);
  }

  const colour = element("map-colour"), slider = element("map-least");
  element("map-colour-field").hidden = !data.genres.length;
  colour.value = colourBy;
  colour.addEventListener("change", () => { colourBy = colour.value; buildLegend(); redraw(); });

  const fewest = ratings.length ? ratings[byRatings[n - 1]] : 1;
  function readSlider() {
    const share = Number(slider.value) / 100;
    least = Math.round(fewest * Math.pow(mostRatings / fewest, share));
    element("map-least-shown").textContent = `${count(least)}+ ratings`;
    slider.setAttribute("aria-valuetext", `${plural(least, "rating")} or more`);
  }
  slider.addEventListener("input", () => { readSlider(); redraw(); });

  const middle = () => [width / 2, height / 2];
  element("map-in").addEventListener("click", () => zoomAt(...middle(), 1.5));
  element("map-out").addEventListener("click", () => zoomAt(...middle(), 1 / 1.5));
  element("map-all").addEventListener("click", () => flyTo(viewOf(0)));

  const enlarge = element("map-enlarge");
  enlarge.hidden = !inReport;
  if (inReport && matchMedia("(hover: hover)").matches) element("map-help").prepend("Click the map first if the wheel is to zoom. ");
  function setLarge(large) {
    map.classList.toggle("large", large);
    document.documentElement.classList.toggle("map-is-large", large);
    enlarge.setAttribute("aria-pressed", String(large));
    enlarge.textContent = large ? "Back to the page" : "Enlarge";
  }
  enlarge.addEventListener("click", () => setLarge(!map.classList.contains("large")));

  // ---- pointer, wheel, keys ------------------------------------------------------------------

  const pointers = new Map();
  let moved = 0, pinch = null;

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (pointers.size === 1) moved = 0;
    pinch = null;
    flight++;
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = at(event), before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") hover(itemAt(now.x, now.y, 6), now.x, now.y);
      return;
    }
    pointers.set(event.pointerId, now);
    moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (pointers.size === 1) {
      if (moved > 4) { showTip(-1); panBy(now.x - before.x, now.y - before.y); canvas.classList.add("dragged"); }
    } else if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const next = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
      if (pinch) {
        panBy(next.x - pinch.x, next.y - pinch.y);
        zoomAt(next.x, next.y, next.apart / pinch.apart);
      }
      pinch = next;
      moved = 100;
    }
  });

  function lift(event) {
    const known = pointers.delete(event.pointerId);
    pinch = null;
    canvas.classList.remove("dragged");
    if (!known || event.type === "pointercancel" || moved > 4 || pointers.size) return;
    const { x, y } = at(event);
    choose(itemAt(x, y, event.pointerType === "mouse" ? 6 : 18));
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => hover(-1, 0, 0));
  canvas.addEventListener("dblclick", (event) => { const { x, y } = at(event); zoomAt(x, y, 2); });

  canvas.addEventListener("wheel", (event) => {
    // Inside a longer page the wheel scrolls the page until the map has been clicked.
    const mine = !inReport || map.classList.contains("large") || event.ctrlKey || document.activeElement === canvas;
    if (!mine) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? height : 1;
    const { x, y } = at(event);
    zoomAt(x, y, Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0018)));
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 200 : 60;
    const actions = {
      ArrowLeft: () => panBy(step, 0), ArrowRight: () => panBy(-step, 0),
      ArrowUp: () => panBy(0, step), ArrowDown: () => panBy(0, -step),
      "+": () => zoomAt(...middle(), 1.4), "=": () => zoomAt(...middle(), 1.4),
      "-": () => zoomAt(...middle(), 1 / 1.4), "_": () => zoomAt(...middle(), 1 / 1.4),
      "0": () => flyTo(viewOf(0)), Home: () => flyTo(viewOf(0)),
      Enter: () => { const item = itemAt(...middle(), Math.hypot(width, height)); if (item >= 0) choose(item); },
      Escape: () => { if (chosen >= 0) choose(-1); else setLarge(false); },
      "/": () => query.focus(),
    };
    const action = actions[event.key];
    if (!action) return;
    action();
    event.preventDefault();
  });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { choose(-1); canvas.focus({ preventScroll: true }); }
  });

  // ---- beginning -----------------------------------------------------------------------------

  function resize() {
    const box = stage.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const before = view && firstView();
    const untouched = !view || (view.x === before.x && view.y === before.y && view.scale === before.scale);
    width = box.width;
    height = box.height;
    const density = window.devicePixelRatio || 1;
    ground.width = canvas.width = Math.round(width * density);
    ground.height = canvas.height = Math.round(height * density);
    whole = viewOf(0);
    if (untouched) view = firstView();
    draw();
  }

  dark.addEventListener("change", () => { readTheme(); buildLegend(); redraw(); });
  readTheme();
  readSlider();
  buildLegend();
  resize();
  new ResizeObserver(resize).observe(stage);
})();
