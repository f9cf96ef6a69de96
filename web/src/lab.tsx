// What the lab found, where it is stored with the model; else how to ask.

type Loose = Record<string, unknown>;
const loose = (value: unknown): Loose => value !== null && typeof value === "object" && !Array.isArray(value) ? value as Loose : {};
const text = (value: unknown): string => typeof value === "string" ? value : "";

export function Lab({ report, canPredict, source }: { report: Loose; canPredict: boolean; source: string }) {
  const found = loose(report.lab), certificate = loose(report.certificate);
  if (Array.isArray(found.sections)) {
    return <>
      <p class="lead">{text(found.headline)}</p>
      <div class="cards">{found.sections.map(loose).map((section) => (
        <article key={text(section.question)}>
          <h3>{text(section.question)}</h3>
          <p>{text(section.answer)}</p>
          {text(section.next_step) && <p class="faint">Next: {text(section.next_step)}.</p>}
          {Array.isArray(section.facts) && section.facts.length > 0 && (
            <details><summary>The numbers</summary><dl class="facts">
              {section.facts.filter(Array.isArray).map(([what, value], at) => <div key={at}><dt>{String(what)}</dt><dd>{String(value)}</dd></div>)}
            </dl></details>
          )}
        </article>
      ))}</div>
    </>;
  }
  if (Object.keys(certificate).length) {
    const facts = Object.entries(certificate).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value));
    return <>
      <p class="lead">{certificate.certified === true ? "Proved: no model with this loss and penalty, of any number of factors, fits its ratings better."
        : text(certificate.refusal) ? `No certificate: ${text(certificate.refusal)}.`
        : typeof certificate.relative_gap === "number" ? `Proved: at most ${(100 * certificate.relative_gap).toPrecision(2)}% above the lowest loss that any number of factors could reach.` : "A certificate is stored with this model."}</p>
      <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name.replaceAll("_", " ")}</dt><dd>{typeof value === "number" ? Number(value.toPrecision(6)) : String(value)}</dd></div>)}</dl>
    </>;
  }
  return <p class="hint">{canPredict
    ? <>None is stored with this model. Is it linear, is its loss convex, is it at the optimum, does it generalise? Measure it: <code>bilinear lab MODEL {source || "RATINGS"} --keep</code>, then reload the folder below.</>
    : <>None is stored with this model. Which of the lab's questions a ranking model has: <code>bilinear lab MODEL {source || "RATINGS"} --keep</code>, then reload the folder below.</>}</p>;
}
