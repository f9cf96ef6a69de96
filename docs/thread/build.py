"""Makes the page "How is collaborative filtering a linear model?" from measurements.

    python docs/thread/build.py                      # on synthetic ratings, into docs/thread
    python docs/thread/build.py --ratings FILE --out FOLDER
    python docs/thread/build.py --check              # is the page that is there what comes out?

Every number of template.md is a field that `measurements.py` fills. What the text says in words is
stated again in `claims` as a condition; a page whose words are wrong is not written.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import measurements  # noqa: E402
import pictures  # noqa: E402

_GLUE = "\0"  # instead of a space inside code
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
ROUNDING = 0.05  # by which share numbers may differ from one machine to another
NOISE = 1e-3  # below which only the order of magnitude is compared


def claims(values: dict[str, Any]) -> dict[str, bool]:
    """What the text says in words, by the section that says it."""
    runs = {(run["schedule"], run["epochs"]): run for run in values["runs"]}
    last = max(epochs for _, epochs in runs)
    constant, falling = runs["constant", last], runs["falling to zero", last]
    best = min(values["runs"], key=lambda run: run["test"])
    return {
        "look-up and one-hot agree in every bit": values["one_hot_different"] == 0,
        "affine in each side": values["affine"] < 1e-12 and values["mixed"] < 1e-12,
        "biases alone have no interaction, the model has": values["bias_share"]
        < 1e-20
        < 0.01
        < values["share"],
        "a network bends, and without ReLU only adds": values["net_bend"] > 0.02
        and values["dot_bend"] < 1e-12
        and values["straight_interaction"] < 1e-20
        and abs(values["straight_rmse"] / values["net_biases_rmse"] - 1) < 0.05,
        "the dot product has more interaction and less error": values["dot_interaction"]
        > values["net_interaction"]
        and values["dot_rmse"] < values["net_rmse"],
        "not linear in the pair": values["jointly"] > 0.1,
        "the loss without factors lies above the two twins": values["loss_between"] > values["loss"]
        and abs(values["loss_flipped"] / values["loss"] - 1) < 1e-9,
        "random chords do not tell": values["chords_above"] < values["chords"] / 2,
        "no chord of a half rises": values["half_above"] == 0,
        "no factors at all is a strict saddle": values["saddle_verdict"] == "strict saddle"
        and values["saddle_after_descent"] < values["saddle_after_step"] < values["saddle_loss"],
        "one factor has several minima, two have one": len(values["one_losses"]) > 1
        and len(values["two_losses"]) == 1
        and values["two_certified"]
        and not values["one_certified"],
        "the promise is kept": 0 <= values["above"] <= values["promised"],
        "all starts find one model": values["seeds_high"] / values["seeds_low"] - 1 < 1e-4
        and values["same_lists"] > 0.95
        and values["barrier_aligned"] < 1e-3 * values["barrier"],
        "the optimum is proved": values["optimal"] and values["proof_valid"],
        "the course's recipe has no certificate": "not convex in the score" in values["course_refusal"]
        and 0.5 < values["course_band"] < 1,
        "a loss of zero throws away what was learned": values["zero_train"] < 0.05
        and values["zero_test"] > 1.05 * values["model_test"]
        and values["zero_test"] > 0.97 * values["bias_test"],
        "without noise it does not": values["clean_test"] < 0.02 * values["clean_spread"],
        "shuffled ratings are memorised": values["memorised"] > 0.2
        and values["shuffled_test"] > values["mean_test"]
        and values["learned"] > 0,
        "factors of one size need ever shorter steps": values["steps"][-1]["ones"] * 4
        <= values["steps"][0]["ones"],
        "scaled ones hardly do": values["steps"][-1]["scaled"] * 4 > values["steps"][0]["scaled"],
        "without a penalty the weights run away": values["run_verdict"] == "no minimiser",
        "a constant rate ends in a tremble, a falling one at rest": falling["above"] < 0.1 * constant["above"]
        and falling["gradient"] < 0.1 * constant["gradient"],
        "the best model is not the one that converged": best["epochs"] < last
        and best["test"] < falling["test"],
        "and gets worse from there": all(
            run["test"] > best["test"]
            for run in values["runs"]
            if run["schedule"] == best["schedule"] and run["epochs"] > best["epochs"]
        ),
        "the best penalty is neither end": values["best_l2"] not in (values["small"].l2, values["large"].l2),
        "training error falls with the penalty": values["small"].train_rmse < values["best_train"],
        "proved optima are worse models": values["certified_worse"] > 0,
    }


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """What the template's fields stand for: the values, and what is derived from them for reading."""
    runs = values["runs"]
    last = max(run["epochs"] for run in runs)
    ends = {run["schedule"]: run for run in runs if run["epochs"] == last}
    best = min(runs, key=lambda run: run["test"])
    return values | {
        "ratings_sentence": _ratings_sentence(values),
        "one_minima": len(values["one_losses"]),
        "few_table": _table(
            ("factors", "loss", "starts that ended there"),
            [
                (k, f"{loss:.3f}", count)
                for k, name in ((1, "one"), (2, "two"))
                for loss, count in zip(values[f"{name}_losses"], values[f"{name}_counts"], strict=True)
            ],
        ),
        "steps_table": _table(
            ("factors", "longest finite rate, every entry starts at size one", "entries start smaller"),
            [(row["factors"], f"{row['ones']:g}", f"{row['scaled']:g}") for row in values["steps"]],
        ),
        "runs_table": _table(
            ("rate", "epochs", "relative gradient", "above the optimum", "held-out RMSE"),
            [
                (
                    run["schedule"],
                    run["epochs"],
                    f"{run['gradient']:.1e}",
                    f"{100 * run['above']:.3g} %",
                    f"{run['test']:.4f}",
                )
                for run in runs
            ],
        ),
        "curve_table": _table(
            ("penalty", "training RMSE", "held-out RMSE", "certificate: at most above the optimum"),
            [
                (
                    f"{point.l2:g}",
                    f"{point.train_rmse:.4f}",
                    f"{point.test_rmse:.4f}{' (best)' if point == values['curve'].best else ''}",
                    f"{point.relative_gap:.1e}",
                )
                for point in values["curve"].points
            ],
        ),
        "run_norms": ", ".join(f"{norm:.0f}" for norm in values["run_norms"]),
        "run_losses": ", ".join(f"{loss:.0e}" for loss in values["run_losses"]),
        "last_epochs": last,
        "floor": ends["constant"]["above"],
        "rest": ends["falling to zero"]["above"],
        "best_epochs": best["epochs"],
        "best_rate": "a constant rate" if best["schedule"] == "constant" else f"a rate {best['schedule']}",
        "bias_interaction": f"{values['bias_share']:.0e}" if values["bias_share"] else "nothing",
        "best_above": best["above"],
        "luck": "No luck: stopping early is one more penalty."
        if values["stopped_high"] < 0
        else "That interval does not exclude luck.",
    }


def render(values: dict[str, Any]) -> str:
    """The page. Raises ValueError: its words are not true of these values."""
    wrong = [claim for claim, holds in claims(values).items() if not holds]
    if wrong:
        raise ValueError("the numbers do not bear out the text: " + "; ".join(wrong))
    page = (HERE / "template.md").read_text(encoding="utf-8").format_map(fields(values))
    return "\n\n".join(_wrapped(block) for block in page.split("\n\n"))


def _wrapped(block: str) -> str:
    """A paragraph with lines of equal length; anything else as it is."""
    if block.startswith(("|", "#", "`", "!", "from ", "print")):
        return block
    words = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", _GLUE), block)
    words = re.sub(r" (?=(?:\d+[.)]|[-+*]) )", _GLUE, words)  # at the start of a line it would make a list
    end = "\n" if block.endswith("\n") else ""
    return textwrap.fill(words, 110, break_long_words=False, break_on_hyphens=False).replace(_GLUE, " ") + end


def differences(page: str, other: str) -> list[str]:
    """Where two pages differ by more than rounding."""
    found = []
    lines = page.splitlines(), other.splitlines()
    if len(lines[0]) != len(lines[1]):
        return [f"{len(lines[0])} lines and {len(lines[1])}"]
    for number, (one, two) in enumerate(zip(*lines, strict=True), 1):
        words = [NUMBER.sub("#", line) for line in (one, two)]
        values = [[float(text.replace(",", "")) for text in NUMBER.findall(line)] for line in (one, two)]
        if words[0] != words[1] or not all(map(_alike, *values)):
            found.append(f"line {number}: {one!r} and {two!r}")
    return found


def _alike(one: float, two: float) -> bool:
    size = max(abs(one), abs(two))
    return abs(one - two) <= ROUNDING * size or size < NOISE


def _ratings_sentence(values: dict[str, Any]) -> str:
    sizes = f"{values['n_ratings']:,} ratings of {values['n_items']:,} films by {values['n_users']:,} users"
    if values["source"] == "synthetic catalogue":
        return (
            f"There are {sizes}, invented with planted tastes and noise, so that you can repeat every number."
        )
    return f"There are {sizes}, from {Path(values['source']).name}."


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---:",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How is collaborative filtering a linear model? Measured.")
    parser.add_argument("--ratings", help="a file of ratings instead of the synthetic ones")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--check", action="store_true", help="compare with the page there, write nothing")
    chosen = parser.parse_args(arguments)
    if chosen.ratings:
        from bilinear.data.reading.readers import read_ratings

        ratings = read_ratings(chosen.ratings)
    else:
        ratings = measurements.synthetic()
    values = measurements.measure(ratings)
    page = render(values)
    if chosen.check:
        found = differences((chosen.out / "README.md").read_text(encoding="utf-8"), page)
        print("\n".join(found) or "the page is what the build gives")
        return 1 if found else 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "README.md").write_text(page, encoding="utf-8")
    pictures.draw(values, chosen.out)
    print(f"wrote {chosen.out / 'README.md'} and three pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
