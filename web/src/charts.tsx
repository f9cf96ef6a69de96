// Small charts as SVG, as in the reports (src/bilinear/inspection/charts.py).

const WIDTH = 420, HEIGHT = 230, LEFT = 58, RIGHT = 12, TOP = 14, BOTTOM = 34;

/** A value an epoch as a line, with one epoch marked (its place, from 0). */
export function Curve({ what, values, marked }: { what: string; values: number[]; marked: number | null }) {
  const ticks = ticksOf(Math.min(...values), Math.max(...values));
  const low = Math.min(ticks[0], ...values), high = Math.max(ticks[ticks.length - 1], ...values), last = values.length - 1;
  const x = (at: number) => LEFT + (WIDTH - LEFT - RIGHT) * at / Math.max(1, last);
  const y = (value: number) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low || 1);
  const places = [...new Set([0, Math.floor(last / 2), last])];
  return (
    <figure class="chart">
      <figcaption>{what}</figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${what}: from ${values[0].toPrecision(4)} to ${values[last].toPrecision(4)} over ${values.length} epochs`}>
        {ticks.map((tick) => <g key={tick}>
          <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(tick)} y2={y(tick)} />
          <text class="tick" text-anchor="end" x={LEFT - 8} y={y(tick) + 4}>{Number(tick.toPrecision(6))}</text>
        </g>)}
        {places.map((place) => <text key={place} class="tick" x={x(place)} y={HEIGHT - 16} text-anchor={place && place === last ? "end" : "middle"}>{place + 1}</text>)}
        <polyline class="line" points={values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ")} />
        {marked !== null && marked >= 0 && marked <= last && <circle class="mark" r="5" cx={x(marked)} cy={y(values[marked])} />}
        <text class="tick" text-anchor="middle" x={(LEFT + WIDTH) / 2} y={HEIGHT - 2}>epoch</text>
      </svg>
    </figure>
  );
}

/** A dot with its interval; the numbers stand beside it. */
export function Interval({ value, low, high, left, right }: { value: number; low: number; high: number; left: number; right: number }) {
  const at = (number: number) => 10 + 180 * (number - left) / (right - left || 1);
  return (
    <svg class="interval" viewBox="0 0 200 20" aria-hidden="true">
      <line class="grid" x1="0" x2="200" y1="10" y2="10" />
      <line class="reach" x1={at(low)} x2={at(high)} y1="10" y2="10" />
      <circle class="mark" r="5" cx={at(value)} cy="10" />
    </svg>
  );
}

/** Three to six round numbers that span low..high or lie just outside. */
function ticksOf(low: number, high: number): number[] {
  const spread = high - low || Math.abs(high) || 1, power = 10 ** Math.floor(Math.log10(spread / 3));
  const step = [1, 2, 5, 10].map((times) => times * power).find((each) => spread / each <= 5)!;
  const first = Math.floor(low / step + 1e-9), last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step);
}
