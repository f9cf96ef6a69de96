// Small parts that several views share.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import glossary from "../../src/bilinear/inspection/web/glossary.json";
import type { ApiError } from "./api";
import type { Scale } from "./state";
import { short } from "./words";

/** The answer to a question that is asked again whenever `key` changes; the old one stays until then. */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>, key: string) {
  const [state, set] = useState<{ key: string; value: T | null; problem: ApiError | Error | null; ms: number }>(
    { key: "", value: null, problem: null, ms: 0 });
  useEffect(() => {
    const control = new AbortController(), began = performance.now();
    ask(control.signal).then(
      (value) => { if (!control.signal.aborted) set({ key, value, problem: null, ms: performance.now() - began }); },
      (problem) => { if (!control.signal.aborted) set((old) => ({ ...old, key, problem })); },
    );
    return () => control.abort();
  }, [key]);
  return { ...state, waiting: state.key !== key };
}

export function Failed({ problem }: { problem: Error | null }) {
  return problem && <p class="failed" role="alert">{problem.message}</p>;
}

/** What is on its way; the words come only when it takes a while, so that nothing flickers. */
export function Waiting({ what }: { what: string }) {
  return <p class="waiting" role="status"><span class="turning" aria-hidden="true" /> Reading {what}…</p>;
}

export function Part({ head, children, kind = "" }: { head: string; children: ComponentChildren; kind?: string }) {
  return <section class={`part ${kind}`}><h2>{head}</h2>{children}</section>;
}

/** A word of the glossary, which says what it means when it is pressed. */
export function Term({ name, children }: { name: keyof typeof glossary; children?: ComponentChildren }) {
  const id = useId();
  return <>
    <button type="button" class="term" {...{ popovertarget: id }}>{children ?? name}</button>
    <span class="meaning" id={id} {...{ popover: "auto" }}><strong>{name}</strong> {glossary[name]}</span>
  </>;
}

/** A table that scrolls by touch, wheel or keys where the page is too narrow for it. */
export function Scrolling({ children, kind }: { children: ComponentChildren; kind?: string }) {
  return <div class="scroll" tabIndex={0} role="group" aria-label="Table"><table class={kind}>{children}</table></div>;
}

const STAR = "M10 1.6l2.6 5.3 5.8.8-4.2 4.1 1 5.8L10 14.9l-5.2 2.7 1-5.8L1.6 7.7l5.8-.8z";

/** A row of stars: click, arrows, or the digit keys; Delete takes the rating back. */
export function Stars({ scale, value, title, onRate, loud }: {
  scale: Scale; value: number | null; title: string; onRate: (rating: number | null) => void; loud?: boolean;
}) {
  const [draft, setDraft] = useState<number | null>(null); // by keys, not yet given
  const [hover, setHover] = useState<number | null>(null);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  if (scale.kind === "like") {
    const liked = value !== null;
    return (
      <button type="button" class="like" aria-pressed={liked} aria-label={`Like ${title}`}
        onClick={() => onRate(liked ? null : scale.top)}>
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M10 17.3 3.3 10.7a4.3 4.3 0 0 1 6.1-6.1l.6.6.6-.6a4.3 4.3 0 0 1 6.1 6.1z" /></svg>
        {loud && <span>{liked ? "Liked" : "Like"}</span>}
      </button>
    );
  }
  const shown = hover ?? draft ?? value, { stars, low, top, step } = scale;
  const rounded = (rating: number) => Math.min(top, Math.max(low, low + Math.round((rating - low) / step) * step));
  const at = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    // A finger gives whole stars.
    const share = (event.clientX - box.left) / box.width, fine = (event as PointerEvent).pointerType === "touch" ? Math.max(step, top / stars) : step;
    return rounded(Math.max(low, Math.ceil(share * top / fine) * fine));
  };
  const commit = (rating: number | null) => { clearTimeout(timer.current); setDraft(null); setHover(null); onRate(rating); };
  const soon = (rating: number) => {
    setDraft(rating);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => commit(rating), 700);
  };
  const onKey = (event: KeyboardEvent) => {
    const from = draft ?? value ?? low - step;
    if (event.key === "ArrowRight" || event.key === "ArrowUp") soon(rounded(from + step));
    else if (event.key === "ArrowLeft" || event.key === "ArrowDown") soon(rounded((draft ?? value ?? top + step) - step));
    else if (event.key === "Home") soon(low);
    else if (event.key === "End") soon(top);
    else if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) soon(rounded(Number(event.key)));
    else if (event.key === "Enter" && draft !== null) commit(draft);
    else if ((event.key === "Delete" || event.key === "Backspace") && value !== null) commit(null);
    else return;
    event.preventDefault();
  };
  return (
    <span class={`stars${shown !== value ? " draft" : ""}`} role="slider" tabIndex={0} aria-label={`Rating of ${title}`}
      aria-valuemin={low} aria-valuemax={top} aria-valuenow={shown ?? low}
      aria-valuetext={shown === null ? "not rated" : `${short(shown)} of ${short(top)}`}
      onPointerMove={(event) => { if (event.pointerType === "mouse") setHover(at(event)); }} onPointerLeave={() => setHover(null)}
      onBlur={() => { if (draft !== null) commit(draft); }}
      onClick={(event) => commit(at(event))} onKeyDown={onKey}>
      <StarRow stars={stars} share={shown === null ? 0 : shown / top} />
    </span>
  );
}

export function StarRow({ stars, share }: { stars: number; share: number }) {
  const id = useId();
  return (
    <svg class="star-row" viewBox={`0 0 ${20 * stars} 20`} width={18 * stars} height="18" aria-hidden="true">
      <defs><clipPath id={id}><rect x="0" y="0" width={20 * stars * share} height="20" /></clipPath></defs>
      {Array.from({ length: stars }, (_, n) => <path key={n} class="off" d={STAR} transform={`translate(${20 * n})`} />)}
      <g clip-path={`url(#${id})`}>
        {Array.from({ length: stars }, (_, n) => <path key={n} class="on" d={STAR} transform={`translate(${20 * n})`} />)}
      </g>
    </svg>
  );
}

export interface Choice { id: string; name: string; note: string }

/** A field with a list of what was found (WAI-ARIA combobox). */
export function Finder({ label, placeholder, find, onChoose, nothing }: {
  label: string; placeholder: string; find: (words: string, signal: AbortSignal) => Promise<Choice[]>;
  onChoose: (choice: Choice) => void; nothing: (words: string) => string;
}) {
  const id = useId();
  const [words, setWords] = useState(""), [open, setOpen] = useState(false), [active, setActive] = useState(-1);
  const [found, setFound] = useState<Choice[] | null>(null), [problem, setProblem] = useState<string | null>(null);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!words.trim()) { setFound(null); return; }
    const control = new AbortController();
    const timer = setTimeout(() => find(words, control.signal).then(
      (choices) => { setFound(choices); setProblem(null); setActive(choices.length ? 0 : -1); },
      (error) => { if (!control.signal.aborted) { setFound([]); setProblem(error.message); } },
    ), 60);
    return () => { clearTimeout(timer); control.abort(); };
  }, [words]);
  useEffect(() => {
    const outside = (event: Event) => { if (!box.current?.contains(event.target as Node)) setOpen(false); };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => { document.removeEventListener("pointerdown", outside); document.removeEventListener("focusin", outside); };
  }, []);
  const choose = (choice: Choice) => {
    onChoose(choice);
    setOpen(false);
    setWords("");
  };
  const onKey = (event: KeyboardEvent) => {
    const most = found?.length ?? 0;
    if (event.key === "Escape") { if (open && found) setOpen(false); else setWords(""); }
    else if (event.key === "ArrowDown" && most) { setOpen(true); setActive((active + 1) % most); }
    else if (event.key === "ArrowUp" && most) { setOpen(true); setActive((active - 1 + most) % most); }
    else if (event.key === "Enter" && found && active >= 0 && open) choose(found[active]);
    else return;
    event.preventDefault();
  };
  const shown = open && found !== null;
  return (
    <div class="finder" ref={box}>
      <label class="unseen" for={`${id}-field`}>{label}</label>
      <svg class="glass" viewBox="0 0 20 20" aria-hidden="true"><circle cx="8.5" cy="8.5" r="5.5" /><path d="m13 13 4.5 4.5" /></svg>
      <input id={`${id}-field`} type="search" placeholder={placeholder} autocomplete="off" spellcheck={false}
        role="combobox" aria-expanded={shown} aria-controls={`${id}-list`} aria-autocomplete="list"
        aria-activedescendant={shown && active >= 0 ? `${id}-${active}` : undefined}
        value={words} onInput={(event) => { setWords(event.currentTarget.value); setOpen(true); }}
        onFocus={() => setOpen(true)} onKeyDown={onKey} />
      <ul id={`${id}-list`} role="listbox" aria-label={label} hidden={!shown}
        onMouseDown={(event) => event.preventDefault() /* the field keeps the focus, so the list stays until the click */}>
        {shown && found.map((choice, n) => (
          <li key={choice.id} id={`${id}-${n}`} role="option" aria-selected={n === active} onClick={() => choose(choice)}
            onPointerMove={() => setActive(n)}>
            <bdi class="name">{choice.name}</bdi>
            <span class="number">{choice.note}</span>
          </li>
        ))}
        {shown && !found.length && <li class="nothing" role="presentation">{problem ?? nothing(words)}</li>}
      </ul>
    </div>
  );
}

/** A dialog from the side (from below on a phone); Escape closes it, and focus goes back to where it was. */
export function Drawer({ label, onClose, children }: { label: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.isConnected ? before.focus() : undefined;
  }, []);
  return (
    <dialog ref={dialog} class="drawer" aria-label={label} onClose={onClose}
      onClick={(event) => { if (event.target === dialog.current) dialog.current?.close(); }}>
      <div class="drawer-body">
        <button type="button" class="close" aria-label="Close" onClick={() => dialog.current?.close()}>×</button>
        {children}
      </div>
    </dialog>
  );
}
