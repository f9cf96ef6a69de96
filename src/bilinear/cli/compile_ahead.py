"""bilinear compile: kernels before they are needed."""

from __future__ import annotations

from bilinear.cli import options
from bilinear.cli.output import print_json, print_note, print_text

NAME = "compile"
HELP = "Compile ahead what the default models use; else it happens at their first use."
EXAMPLES = """Examples:

bilinear compile

RUN pip install bilinear && bilinear compile     (in the Dockerfile of an image)
"""


def command(json: options.Json = False, quiet: options.Quiet = False) -> None:
    from bilinear.estimators.compile_ahead import compile_kernels

    done = compile_kernels((lambda line: None) if quiet else print_note)
    if json:
        print_json({"n_compiled": done.n_compiled, "seconds": done.seconds, "folder": str(done.folder)})
    else:
        print_text(str(done))
