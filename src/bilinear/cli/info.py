"""bilinear info: what a model is and how good it was."""

from __future__ import annotations

from bilinear.cli import options
from bilinear.cli.measured import say_measurement
from bilinear.cli.output import say, say_json

NAME = "info"
HELP = "Show what a model was trained on, how, and its scores."
EXAMPLES = """Examples:

bilinear info model

bilinear info model --json
"""


def command(model: options.Model, json: options.Json = False) -> None:
    from bilinear.estimators.experiment import Measurement
    from bilinear.estimators.storage import load
    from bilinear.model.artifact import read_artifact

    fitted = load(model)
    if json:
        artifact = read_artifact(model, verify=False)
        say_json(artifact.manifest | {"libraries": artifact.libraries})
        return
    parameters = fitted.parameters_
    say(repr(fitted))
    say(
        f"{parameters.n_users:,} users, {parameters.n_items:,} items, {parameters.n_factors} factors; "
        f"{len(fitted.seen_.ratings):,} training ratings ({fitted.report_.get('trained_on', 'all given')}) "
        f"from {fitted.source_}"
    )
    say(f"{fitted.link_!r}, {fitted.loss_!r}, {fitted.penalty_!r}, seed {fitted.seed_}")
    if "scores" in fitted.report_:
        say()
        say_measurement(Measurement.from_dict(fitted.report_))
    if fitted.search_ is not None:
        say("\nSearch on an inner validation part:\n" + str(fitted.search_))
    if fitted.history_.epochs:
        say("\nTraining:\n" + str(fitted.history_))
