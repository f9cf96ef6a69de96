"""What `bilinear plan` says against what `bilinear train` takes: peak memory and CPU seconds.

Each training is a process of its own on a Parquet file of synthetic ratings without times. The memory is that
beside the program itself, which is measured by the same command on 2,000 rows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import common
import reading

from bilinear.cli.models import build_model, model_class, parsed_settings
from bilinear.estimators.resource_plan import plan
from bilinear.memory import shown

MODELS = {
    "biases": [],
    "mf, SGD": ["solver=SGD"],
    "mf, SGD, 64 factors": ["solver=SGD", "n_factors=64", "l2=0.5", "l2_biases=0.5"],
    "popularity": [],
    "implicit-als, 64 factors": ["n_factors=64"],
}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 5_000_000, 20_000_000])
    parser.add_argument("--only", help="a part of the names of the models to run")
    options = parser.parse_args()
    program = str(Path(sys.executable).with_name("bilinear"))
    rows, numbers = [], {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for n in (2000, *options.rows):
            place = Path(folder, str(n))
            place.mkdir()
            paths[n] = reading.write_in_child(place, n)["Parquet"]
        for n in options.rows:
            for case, settings in MODELS.items():
                if options.only and options.only not in case:
                    continue
                name = case.split(",")[0]
                model = build_model(model_class(name), parsed_settings(settings), seed=0)
                said = plan(paths[n], model, time=False)
                given = [f"--set={setting}" for setting in settings]
                command = [
                    "train",
                    "--model",
                    name,
                    *given,
                    "--out",
                    f"{folder}/model",
                    "--time",
                    "",
                    "--quiet",
                ]
                floor, found = (
                    common.measure_child([program, *command, str(paths[size])]) for size in (2000, n)
                )
                taken = (found.peak_mib - floor.peak_mib) * 2**20
                stages = [stage.cpu_seconds for stage in said.stages if not stage.name.startswith("lists")]
                cpu = sum(seconds or 0.0 for seconds in stages)
                rows.append(
                    [f"{n:,}", case, shown(said.memory), shown(int(taken)), f"{said.memory / taken:.2f}",
                     f"{cpu:.0f}", f"{found.cpu_seconds:.0f}", f"{found.seconds:.0f}"]
                )  # fmt: skip
                print(rows[-1], file=sys.stderr, flush=True)
                numbers[f"{n} {case}"] = {"said": said.to_dict(), "memory": taken, "cpu": found.cpu_seconds}
    facts = common.machine_facts("duckdb")
    header = ["rows", "model", "memory, plan", "measured", "ratio", "CPU s, plan", "measured", "seconds"]
    markdown = f"# Sizing\n\n{common.facts_line(facts)}\n\n{common.table_text(header, rows)}"
    common.publish("sizing", options.out, markdown, {"facts": facts, "cases": numbers})


if __name__ == "__main__":
    main()
