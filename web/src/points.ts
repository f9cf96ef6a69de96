// Points of a plane by WebGL2: one draw call for all of them, so that sixty thousand follow the finger.

import { channels } from "./palette";

export interface Points {
  n: number; x: Float32Array; y: Float32Array;
  weight: Float32Array;  // radius in pixels, before the zoom
  group: Uint8Array;     // which colour
  bias: Float32Array;    // -1 to 1
  n_ratings: Float32Array;
  order: Uint32Array;    // as they are drawn
}
export interface Look {
  x: number; y: number; scale: number; width: number; height: number; density: number; unit: number;
  byBias: boolean; colours: string[]; bias: string[]; shown: number; least: number; alpha: number; paper: string;
}
export interface Layer { kind: "webgl" | "canvas"; draw: (look: Look) => void; free: () => void }

const VERTEX = `#version 300 es
in vec2 place; in float weight; in float group; in float bias; in float ratings;
uniform vec2 middle, span; uniform float unit, least; uniform bool byBias; uniform int shown;
uniform vec3 colours[12]; uniform vec3 biases[3];
out vec3 colour; out float radius;
void main() {
  int at = int(group + 0.5);
  bool seen = ratings >= least && (byBias || (shown >> at & 1) == 1);
  radius = unit * weight;
  gl_Position = seen ? vec4((place - middle) * span, 0.0, 1.0) : vec4(2.0, 2.0, 0.0, 1.0);
  gl_PointSize = 2.0 * radius + 3.0;
  colour = byBias ? mix(biases[1], bias < 0.0 ? biases[0] : biases[2], abs(bias)) : colours[at];
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec3 colour; in float radius; uniform float alpha; uniform vec3 paper; out vec4 drawn;
void main() {
  float away = length(gl_PointCoord - 0.5) * (2.0 * radius + 3.0);
  float inside = clamp(radius + 0.5 - away, 0.0, 1.0);
  float rim = radius > 5.0 ? clamp(radius + 1.5 - away, 0.0, 1.0) : inside;
  if (rim <= 0.0) discard;
  drawn = vec4(mix(paper, colour, inside / max(rim, 0.001)), rim * alpha);
}`;

export function layerOf(canvas: HTMLCanvasElement, points: Points): Layer {
  const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: false });
  return gl ? webgl(gl, points) : flat(canvas, points);
}

function webgl(gl: WebGL2RenderingContext, points: Points): Layer {
  const program = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const at = (name: string) => gl.getUniformLocation(program, name);
  const uniform = Object.fromEntries(["middle", "span", "unit", "least", "byBias", "shown", "colours", "biases", "alpha", "paper"]
    .map((name) => [name, at(name)]));
  const { n, order } = points;
  const interleaved = new Float32Array(6 * n);
  order.forEach((item, place) => interleaved.set(
    [points.x[item], points.y[item], points.weight[item], points.group[item], points.bias[item], points.n_ratings[item]], 6 * place));
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, interleaved, gl.STATIC_DRAW);
  let offset = 0;
  for (const [name, size] of [["place", 2], ["weight", 1], ["group", 1], ["bias", 1], ["ratings", 1]] as const) {
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 24, offset);
    offset += 4 * size;
  }
  gl.enable(gl.BLEND);
  gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const flatten = (colours: string[]) => new Float32Array(colours.flatMap(channels));
  return {
    kind: "webgl",
    draw(look) {
      gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
      const [red, green, blue] = channels(look.paper);
      gl.clearColor(red, green, blue, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(uniform.middle, look.x, look.y);
      gl.uniform2f(uniform.span, 2 * look.scale / look.width, 2 * look.scale / look.height);
      gl.uniform1f(uniform.unit, look.unit * look.density);
      gl.uniform1f(uniform.least, look.least);
      gl.uniform1i(uniform.byBias, look.byBias ? 1 : 0);
      gl.uniform1i(uniform.shown, look.shown);
      gl.uniform3fv(uniform.colours, flatten(look.colours));
      gl.uniform3fv(uniform.biases, flatten(look.bias));
      gl.uniform1f(uniform.alpha, look.alpha);
      gl.uniform3f(uniform.paper, red, green, blue);
      gl.drawArrays(gl.POINTS, 0, n);
    },
    free: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}

// Without WebGL2: slower for tens of thousands of points, otherwise the same picture.
function flat(canvas: HTMLCanvasElement, points: Points): Layer {
  const pen = canvas.getContext("2d")!;
  return {
    kind: "canvas",
    draw(look) {
      pen.setTransform(look.density, 0, 0, look.density, 0, 0);
      pen.globalAlpha = 1;
      pen.fillStyle = look.paper;
      pen.fillRect(0, 0, look.width, look.height);
      pen.globalAlpha = look.alpha;
      for (const item of points.order) {
        if (points.n_ratings[item] < look.least || (!look.byBias && !(look.shown >> points.group[item] & 1))) continue;
        const x = (points.x[item] - look.x) * look.scale + look.width / 2, y = (look.y - points.y[item]) * look.scale + look.height / 2;
        const r = look.unit * points.weight[item];
        if (x < -r || y < -r || x > look.width + r || y > look.height + r) continue;
        pen.fillStyle = look.byBias ? mixed(look.bias, points.bias[item]) : look.colours[points.group[item]];
        pen.beginPath();
        pen.arc(x, y, r, 0, 7);
        pen.fill();
      }
    },
    free: () => {},
  };
}

function mixed([low, middle, high]: string[], bias: number): string {
  const end = channels(bias < 0 ? low : high), share = Math.abs(bias);
  return `rgb(${channels(middle).map((from, n) => Math.round(255 * (from + (end[n] - from) * share))).join(" ")})`;
}
