// Charts come from the server as SVG, drawn by the same Python that draws those of the reports; text in them is escaped
// there (src/bilinear/inspection/charts.py), and the server's policy allows no inline script.

export function Charts({ drawn }: { drawn: readonly string[] | undefined }) {
  return drawn?.length ? <div class="charts">{drawn.map((svg, at) => <div key={at} dangerouslySetInnerHTML={{ __html: svg }} />)}</div> : null;
}
