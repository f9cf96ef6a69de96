// The map's drawing and its moves: a layer of points below, names and rings above. No Preact in here.

import type { ItemMap } from "./api";
import { DARK, LIGHT, type Palette } from "./palette";
import { layerOf, type Layer, type Look, type Points } from "./points";

export interface Marks { rated: Set<number>; recommended: Set<number>; fresh: Set<number> }
export interface MapOptions { byBias: boolean; shown: number; least: number }
export interface Heard { onHover: (item: number, x: number, y: number) => void; onChoose: (item: number) => void; onView: () => void; takesWheel: (event: WheelEvent) => boolean }

export class Plane {
  readonly points: Points;
  readonly byRatings: Uint32Array;
  readonly nColours: number;
  private layer: Layer;
  private readonly pen: CanvasRenderingContext2D;
  private width = 0; private height = 0; private density = 1;
  private view = { x: 0, y: 0, scale: 1 };
  private whole = { x: 0, y: 0, scale: 1 };
  private ready = false; private drawing = 0; private flight = 0;
  private hovered = -1; private chosen = -1; private near: number[] = [];
  private marks: Marks = { rated: new Set(), recommended: new Set(), fresh: new Set() };
  private options: MapOptions = { byBias: false, shown: -1, least: 0 };
  private readonly cells: { lists: number[][]; side: number; column: (x: number) => number; row: (y: number) => number };
  private readonly sortedX: Float32Array; private readonly sortedY: Float32Array;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly observer: ResizeObserver;
  private readonly control = new AbortController();

  constructor(readonly data: ItemMap, private readonly ground: HTMLCanvasElement, private readonly canvas: HTMLCanvasElement, private readonly heard: Heard) {
    const n = data.items.length, most = Math.max(1, data.n_ratings.reduce((top, one) => Math.max(top, one), 0));
    this.nColours = Math.min(LIGHT.genres.length, data.categories.length);
    const sizes = data.biases.map((bias) => Math.abs(bias ?? 0)).sort((a, b) => a - b);
    const widest = sizes[Math.floor(0.98 * (n - 1))] || 1;
    this.byRatings = Uint32Array.from(data.n_ratings.keys()).sort((a, b) => data.n_ratings[b] - data.n_ratings[a] || a - b);
    this.points = {
      n, x: Float32Array.from(data.x), y: Float32Array.from(data.y),
      weight: Float32Array.from(data.n_ratings, (each) => 1.4 + 7 * Math.sqrt(each / most)),
      group: Uint8Array.from(data.category, (at) => at >= 0 && at < this.nColours ? at : this.nColours),
      bias: Float32Array.from(data.biases, (bias) => Math.max(-1, Math.min(1, (bias ?? 0) / widest))),
      n_ratings: Float32Array.from(data.n_ratings), order: this.byRatings,
    };
    this.sortedX = this.points.x.slice().sort();
    this.sortedY = this.points.y.slice().sort();
    this.cells = this.makeCells();
    this.layer = layerOf(ground, this.points);
    this.pen = canvas.getContext("2d")!;
    ground.dataset.kind = this.layer.kind;
    this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    this.resize();
  }

  free(): void {
    this.control.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.drawing);
    this.flight++;
    this.layer.free();
  }

  show(options: MapOptions): void { this.options = options; this.redraw(); }
  mark(marks: Marks): void { this.marks = marks; this.redraw(); }
  choose(item: number, near: number[]): void { this.chosen = item; this.near = near; this.redraw(); }

  isShown(item: number): boolean {
    return this.points.n_ratings[item] >= this.options.least && (this.options.byBias || (this.options.shown >> this.points.group[item] & 1) === 1);
  }

  /** The most rated items in sight. */
  inSight(n: number): number[] {
    const found: number[] = [];
    for (const item of this.byRatings) {
      if (found.length === n) break;
      if (this.isShown(item) && this.isInside(item)) found.push(item);
    }
    return found;
  }

  flyTo(item: number): void {
    const scale = Math.max(this.view.scale, this.whole.scale * 4);
    // Beside the panel, or above it on a phone.
    const wide = this.width > 640, right = wide ? 170 / scale : 0, down = wide ? 0 : 0.22 * this.height / scale;
    this.fly({ x: this.points.x[item] + right, y: this.points.y[item] - down, scale });
  }
  showAll(): void { this.fly({ ...this.whole }); }
  zoom(factor: number): void { this.fly({ ...this.view, scale: this.view.scale * factor }); }

  private get palette(): Palette { return this.dark.matches ? DARK : LIGHT; }
  private style(name: string): string { return getComputedStyle(this.canvas).getPropertyValue(name).trim(); }
  private readonly screenX = (item: number) => (this.points.x[item] - this.view.x) * this.view.scale + this.width / 2;
  private readonly screenY = (item: number) => (this.view.y - this.points.y[item]) * this.view.scale + this.height / 2;
  private isInside(item: number): boolean {
    const x = this.screenX(item), y = this.screenY(item);
    return x >= 0 && y >= 0 && x <= this.width && y <= this.height;
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    this.width = clientWidth;
    this.height = clientHeight;
    this.density = Math.min(2, devicePixelRatio || 1);
    for (const each of [this.ground, this.canvas]) {
      each.width = Math.round(clientWidth * this.density);
      each.height = Math.round(clientHeight * this.density);
    }
    this.whole = this.viewOf(0.001);
    if (!this.ready) {
      // A narrow screen begins with the middle of the map: the whole would be a thin band.
      this.view = this.viewOf(this.width < 0.8 * this.height ? 0.02 : 0.001);
      this.ready = true;
    }
    this.draw();
  }

  /** The view that holds all items but a share at each end of each direction; one scale for both. */
  private viewOf(share: number) {
    const n = this.points.n, cut = Math.floor(share * n), { sortedX, sortedY } = this;
    const left = sortedX[cut], right = sortedX[n - 1 - cut], low = sortedY[cut], high = sortedY[n - 1 - cut];
    const margin = Math.min(48, 0.08 * Math.min(this.width, this.height));
    const scale = Math.min((this.width - 2 * margin) / (right - left || 1e-9), (this.height - 2 * margin) / (high - low || 1e-9));
    return { x: (left + right) / 2, y: (low + high) / 2, scale };
  }

  private clamp<V extends { scale: number }>(wanted: V): V {
    return { ...wanted, scale: Math.max(this.whole.scale / 3, Math.min(this.whole.scale * 400, wanted.scale)) };
  }

  private zoomAt(x: number, y: number, factor: number): void {
    const left = x - this.width / 2, up = y - this.height / 2, { view } = this;
    const at = [left / view.scale + view.x, view.y - up / view.scale];
    const next = this.clamp({ ...view, scale: view.scale * factor });
    this.flight++; // a hand on the map ends a flight
    this.view = { x: at[0] - left / next.scale, y: at[1] + up / next.scale, scale: next.scale };
    this.redraw();
  }

  private pan(dx: number, dy: number): void {
    this.flight++;
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.redraw();
  }

  private fly(wanted: { x: number; y: number; scale: number }): void {
    const target = this.clamp(wanted), mine = ++this.flight, start = this.view, began = performance.now();
    if (this.still.matches) { this.view = target; this.redraw(); return; }
    const step = (now: number) => {
      if (mine !== this.flight) return;
      const passed = Math.max(0, Math.min(1, (now - began) / 280)), share = passed * passed * (3 - 2 * passed);
      this.view = {
        x: start.x + (target.x - start.x) * share, y: start.y + (target.y - start.y) * share,
        scale: start.scale * Math.pow(target.scale / start.scale, share),
      };
      this.draw();
      if (passed < 1) requestAnimationFrame(step); else this.heard.onView();
    };
    requestAnimationFrame(step);
  }

  /** Draws soon, and lets a flight go on. */
  private redraw(): void {
    if (!this.drawing) this.drawing = requestAnimationFrame(() => { this.drawing = 0; this.draw(); this.heard.onView(); });
  }

  // Points grow a little with the zoom, and shrink in a crowd and on a small screen.
  private get unit(): number {
    const zoom = Math.min(2.2, Math.max(0.8, Math.pow(this.view.scale / this.whole.scale, 0.25)));
    return zoom * Math.min(1, 0.55 + 900 / (this.points.n + 900)) * Math.min(1, Math.max(0.7, this.width / 900));
  }
  private radius(item: number): number { return this.unit * this.points.weight[item]; }

  private draw(): void {
    if (!this.ready) return;
    const { palette, pen, width, height, density } = this;
    const ink = this.style("--ink"), faint = this.style("--faint"), paper = this.style("--paper"), accent = this.style("--accent"), good = this.style("--good");
    const look: Look = {
      ...this.view, width, height, density, unit: this.unit, byBias: this.options.byBias,
      colours: [...palette.genres.slice(0, this.nColours), palette.other], bias: palette.bias,
      shown: this.options.shown, least: this.options.least, alpha: this.chosen >= 0 ? 0.3 : 0.8, paper,
    };
    this.layer.draw(look);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, height);
    const fill = (item: number) => {
      const { points } = this;
      pen.fillStyle = this.options.byBias ? palette.bias[points.bias[item] < -0.2 ? 0 : points.bias[item] > 0.2 ? 2 : 1] : look.colours[points.group[item]];
      pen.beginPath();
      pen.arc(this.screenX(item), this.screenY(item), Math.max(3, this.radius(item)), 0, 7);
      pen.fill();
    };
    const ring = (item: number, colour: string, thick: number, gap = 0.5) => {
      if (!this.isInside(item)) return;
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.beginPath();
      pen.arc(this.screenX(item), this.screenY(item), Math.max(3, this.radius(item)) + gap, 0, 7);
      pen.stroke();
    };
    this.nameAxes(faint);
    for (const item of this.marks.fresh) { fill(item); ring(item, good, 2, 4); }
    for (const item of this.marks.rated) ring(item, ink, 1.8, 1.5);
    for (const item of this.marks.recommended) { fill(item); ring(item, accent, 2.4, 2.5); }
    if (this.chosen >= 0) {
      pen.strokeStyle = faint;
      pen.lineWidth = 1;
      pen.beginPath();
      for (const item of this.near) {
        pen.moveTo(this.screenX(this.chosen), this.screenY(this.chosen));
        pen.lineTo(this.screenX(item), this.screenY(item));
      }
      pen.stroke();
      for (const item of this.near) { fill(item); ring(item, ink, 1); }
      fill(this.chosen);
      ring(this.chosen, ink, 2.5);
    }
    if (this.hovered >= 0 && this.hovered !== this.chosen) { fill(this.hovered); ring(this.hovered, ink, 2); }
    this.drawNames(ink, paper, ring);
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      pen.strokeStyle = ink;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(width / 2 - 9, height / 2); pen.lineTo(width / 2 + 9, height / 2);
      pen.moveTo(width / 2, height / 2 - 9); pen.lineTo(width / 2, height / 2 + 9);
      pen.stroke();
    }
  }

  private nameAxes(faint: string): void {
    const { pen } = this;
    pen.fillStyle = faint;
    pen.font = "12px system-ui, sans-serif";
    const share = (at: number) => `direction ${at + 1} (${Math.round(100 * this.data.explained[at])}%) →`;
    pen.textAlign = "left"; pen.textBaseline = "bottom";
    pen.fillText(share(0), 10, this.height - 8);
    pen.save();
    pen.translate(10, this.height - 34);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "top";
    pen.fillText(share(1), 0, 0);
    pen.restore();
    this.drawRuler(faint);
  }

  /** How long a given difference in score is on the screen. */
  private drawRuler(faint: string): void {
    if (this.width < 420 || !this.data.unit) return;
    const { pen } = this, rough = 110 / this.view.scale, power = Math.pow(10, Math.floor(Math.log10(rough)));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= rough)!;
    const right = this.width - 64, left = right - length * this.view.scale, y = this.height - 12.5;
    pen.strokeStyle = faint;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(left, y - 4); pen.lineTo(left, y); pen.lineTo(right, y); pen.lineTo(right, y - 4);
    pen.stroke();
    pen.textAlign = "right"; pen.textBaseline = "bottom";
    pen.fillText(`${Number(length.toPrecision(1))} ${this.data.unit}`, right, y - 5);
  }

  /** Names of what is chosen or marked and of the most rated items in sight, each where it covers no other. */
  private drawNames(ink: string, paper: string, ring: (item: number, colour: string, thick: number) => void): void {
    const { pen, width, height } = this, taken: number[][] = [];
    const panel = this.canvas.parentElement?.querySelector<HTMLElement>(".map-panel");
    if (panel) taken.push([panel.offsetLeft, panel.offsetTop, panel.offsetLeft + panel.offsetWidth, panel.offsetTop + panel.offsetHeight]);
    const wanted = this.chosen >= 0 ? [this.chosen, ...this.near] : [...this.marks.recommended, ...this.marks.fresh];
    const most = wanted.length + Math.max(8, Math.min(34, Math.round(width * height / 26000)));
    pen.textAlign = "left"; pen.textBaseline = "middle"; pen.lineJoin = "round";
    const place = (item: number, loud: boolean) => {
      if (!this.isInside(item)) return;
      const x = this.screenX(item), y = this.screenY(item), gap = Math.max(3, this.radius(item)) + 4;
      pen.font = `${item === this.chosen ? "600 " : ""}${loud ? 13 : 12}px system-ui, sans-serif`;
      const label = cut(this.data.titles[item], width < 500 ? 24 : 34), w = pen.measureText(label).width, h = 15;
      for (const [left, middle] of [[x + gap, y], [x - gap - w, y], [x - w / 2, y - gap - 6], [x - w / 2, y + gap + 6]]) {
        const box = [left - 2, middle - h / 2, left + w + 2, middle + h / 2];
        if (box[0] < 2 || box[1] < 2 || box[2] > width - 2 || box[3] > height - 24) continue;
        if (box[2] > width - 52 && box[3] > height - 140) continue; // the zoom buttons
        if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
        taken.push(box);
        if (!loud && this.chosen < 0) ring(item, ink, 1);
        pen.lineWidth = 3;
        pen.strokeStyle = paper;
        pen.strokeText(label, left, middle);
        pen.globalAlpha = loud || this.chosen < 0 ? 1 : 0.45;
        pen.fillStyle = ink;
        pen.fillText(label, left, middle);
        pen.globalAlpha = 1;
        return;
      }
    };
    for (const item of wanted) place(item, true);
    let tries = 0;
    for (const item of this.byRatings) {
      if (taken.length >= most || tries >= 400) break;
      if (!this.isShown(item) || !this.isInside(item) || wanted.includes(item)) continue;
      tries++;
      place(item, false);
    }
  }

  // A grid of cells over the data, so that a move of the mouse looks at a few items only.
  private makeCells() {
    const { n, x, y } = this.points, side = Math.max(1, Math.floor(Math.sqrt(n / 4)));
    const across = (this.sortedX[n - 1] - this.sortedX[0]) / side || 1, up = (this.sortedY[n - 1] - this.sortedY[0]) / side || 1;
    const inside = (at: number) => Math.max(0, Math.min(side - 1, at));
    const column = (at: number) => inside(Math.floor((at - this.sortedX[0]) / across));
    const row = (at: number) => inside(Math.floor((at - this.sortedY[0]) / up));
    const lists: number[][] = Array.from({ length: side * side }, () => []);
    for (let item = 0; item < n; item++) lists[row(y[item]) * side + column(x[item])].push(item);
    return { lists, side, column, row };
  }

  private itemAt(x: number, y: number, reach: number): number {
    const around = (reach + this.radius(this.byRatings[0])) / this.view.scale, { cells } = this;
    const atX = (x - this.width / 2) / this.view.scale + this.view.x, atY = this.view.y - (y - this.height / 2) / this.view.scale;
    let best = -1, closest = Infinity;
    for (let row = cells.row(atY - around); row <= cells.row(atY + around); row++) {
      for (let column = cells.column(atX - around); column <= cells.column(atX + around); column++) {
        for (const item of cells.lists[row * cells.side + column]) {
          if (!this.isShown(item) && item !== this.chosen && !this.near.includes(item)) continue;
          const away = Math.hypot(this.screenX(item) - x, this.screenY(item) - y), rim = away - this.radius(item);
          const gap = Math.max(rim, 0) + 0.02 * away; // inside a point the smaller one wins: it lies on top
          if (rim <= reach && gap < closest) { closest = gap; best = item; }
        }
      }
    }
    return best;
  }

  private listen(): void {
    const { canvas } = this, { signal } = this.control, fingers = new Map<number, { x: number; y: number }>();
    let moved = 0;
    const at = (event: MouseEvent) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const hover = (item: number, x: number, y: number) => {
      if (item !== this.hovered) { this.hovered = item; this.redraw(); }
      canvas.classList.toggle("over", item >= 0);
      this.heard.onHover(item, x, y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      if (fingers.size === 1) moved = 0;
    }, { signal });
    canvas.addEventListener("pointermove", (event) => {
      const now = at(event), before = fingers.get(event.pointerId);
      if (!before) { if (event.pointerType === "mouse") hover(this.itemAt(now.x, now.y, 5), now.x, now.y); return; }
      const [a, b] = [...fingers.values()];
      const spread = b ? Math.hypot(a.x - b.x, a.y - b.y) : 0, middle = b ? { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } : before;
      fingers.set(event.pointerId, now);
      moved += Math.hypot(now.x - before.x, now.y - before.y);
      if (moved < 4) return;
      canvas.classList.add("dragged");
      hover(-1, 0, 0);
      if (b) {
        const [c, d] = [...fingers.values()];
        this.pan((c.x + d.x) / 2 - middle.x, (c.y + d.y) / 2 - middle.y);
        this.zoomAt((c.x + d.x) / 2, (c.y + d.y) / 2, Math.hypot(c.x - d.x, c.y - d.y) / (spread || 1));
      } else this.pan(now.x - before.x, now.y - before.y);
    }, { signal });
    const up = (event: PointerEvent) => {
      const place = at(event);
      if (event.type === "pointerup" && fingers.size === 1 && moved < 4) {
        this.heard.onChoose(this.itemAt(place.x, place.y, event.pointerType === "mouse" ? 5 : 14));
      }
      fingers.delete(event.pointerId);
      if (!fingers.size) canvas.classList.remove("dragged");
    };
    canvas.addEventListener("pointerup", up, { signal });
    canvas.addEventListener("pointercancel", up, { signal });
    canvas.addEventListener("pointerleave", () => hover(-1, 0, 0), { signal });
    canvas.addEventListener("wheel", (event) => {
      if (!this.heard.takesWheel(event)) return;
      event.preventDefault();
      const place = at(event);
      this.zoomAt(place.x, place.y, Math.exp(-Math.max(-120, Math.min(120, event.deltaY * (event.deltaMode ? 30 : 1))) / 250));
    }, { signal, passive: false });
    canvas.addEventListener("keydown", (event) => {
      const far = event.shiftKey ? 200 : 60;
      const moves: Record<string, () => void> = {
        ArrowLeft: () => this.pan(far, 0), ArrowRight: () => this.pan(-far, 0), ArrowUp: () => this.pan(0, far), ArrowDown: () => this.pan(0, -far),
        "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.showAll(),
        Enter: () => this.heard.onChoose(this.itemAt(this.width / 2, this.height / 2, 24)),
        Escape: () => this.heard.onChoose(-1),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key]) return;
      event.preventDefault();
      moves[event.key]();
    }, { signal });
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.redraw(), { signal });
    this.dark.addEventListener("change", () => this.redraw(), { signal });
    this.ground.addEventListener("webglcontextlost", (event) => event.preventDefault(), { signal });
    this.ground.addEventListener("webglcontextrestored", () => { this.layer = layerOf(this.ground, this.points); this.redraw(); }, { signal });
  }
}

function cut(text: string, length: number): string {
  const letters = Array.from(text);
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : text;
}
