"""bilinear info: the kind, sizes and held-out scores of a saved model."""

from __future__ import annotations

from bilinear.cli import options
from bilinear.cli.measurement_tables import say_measurement
from bilinear.cli.output import print_json, print_text

NAME = "info"
HELP = "Show what a model was trained on, how, and its scores."
EXAMPLES = """Examples:

bilinear info model

bilinear info model --json
"""


def command(model: options.Model, json: options.Json = False) -> None:
    from bilinear.estimators.measurement import Measurement
    from bilinear.persistence.artifact import read_artifact
    from bilinear.persistence.models import load

    fitted = load(model)
    if json:
        artifact = read_artifact(model, verify=False)
        print_json(artifact.manifest | {"libraries": artifact.libraries})
        return
    rows = "ratings" if fitted.has_ratings_ else "interactions"
    factors = f", {fitted.parameters_.n_factors} factors" if hasattr(fitted, "parameters_") else ""
    print_text(repr(fitted))
    if hasattr(fitted, "model_"):
        print_text(f"it chose {fitted.model_!r}")
    print_text(
        f"{len(fitted.user_vocabulary_):,} users, {len(fitted.item_vocabulary_):,} items{factors}; "
        f"{len(fitted.seen_.ratings):,} training {rows} ({fitted.report_.get('trained_on', 'all given')}) "
        f"from {fitted.source_}"
    )
    if fitted.predicts_ratings:
        print_text(f"{fitted.link_!r}, {fitted.loss_!r}, {fitted.penalty_!r}, seed {fitted.seed_}")
    elif fitted.seed_ is not None:
        print_text(f"seed {fitted.seed_}")
    if "scores" in fitted.report_:
        print_text()
        say_measurement(Measurement.from_dict(fitted.report_))
    trials, history = getattr(fitted, "search_", None), getattr(fitted, "history_", None)
    if trials is not None:
        print_text("\nSearch on an inner validation part:\n" + str(trials))
    if history is not None and getattr(history, "epochs", True):
        print_text("\nTraining:\n" + str(history))
