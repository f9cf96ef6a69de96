"""bilinear serve: the model behind an address, with feedback that is kept."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.output import tell
from bilinear.errors import ParameterValueError
from bilinear.extras import extra

NAME = "serve"
HELP = "Serve a model: recommendations, search, feedback and a page to see it all."
EXAMPLES = """Examples:

bilinear serve model

bilinear serve model --store postgresql://me@localhost/shop --retrain-every 24

bilinear serve model --host 0.0.0.0 --token-file tokens.txt --rate-limit 50
"""


def command(
    model: options.Model,
    items: Annotated[
        Path | None, typer.Option(help="Titles and categories, for a model trained without them.")
    ] = None,
    items_id: options.ItemsId = None,
    items_title: options.ItemsTitle = None,
    store: Annotated[
        str, typer.Option(help="Where feedback is kept: sqlite:///FILE or postgresql://USER@HOST/DATABASE.")
    ] = "sqlite:///feedback.db",
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="Lines `read TOKEN` and `write TOKEN`; asked for with every request.")
    ] = None,
    rate_limit: Annotated[
        float | None, typer.Option(help="Requests a second for each client address.", min=0.01)
    ] = None,
    retrain_every: Annotated[
        float | None, typer.Option(help="Hours between trainings, as long as feedback came in.", min=0.001)
    ] = None,
    max_worse: Annotated[
        float,
        typer.Option(help="Share by which a new model may score worse and still go live.", min=0, max=1),
    ] = 0.02,
    access_log: Annotated[bool, typer.Option("--access-log", help="A log line for every request.")] = False,
) -> None:
    with extra("serve"):
        import uvicorn

        from bilinear.serving.app import create_app
        from bilinear.serving.guard import is_loopback, names_of
        from bilinear.serving.protocol import LimitedProtocol
    if token_file is None and not is_loopback(host):
        raise ParameterValueError(
            f"--host {host} can be reached by others: give --token-file, or listen on 127.0.0.1"
        )
    app = create_app(
        model,
        store=store,
        items=items,
        items_id=items_id,
        items_title=items_title,
        token_file=token_file,
        hosts=tuple(names_of(host)),
        rate_limit=rate_limit,
        retrain_every=None if retrain_every is None else 3600 * retrain_every,
        max_worse=max_worse,
        access_log=access_log,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise ParameterValueError(
                f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port or --host"
            ) from None
        listening.listen(2048)
        port = listening.getsockname()[1]
        tell(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (API: /docs; stop with Ctrl-C)")
        config = uvicorn.Config(
            app,
            http=LimitedProtocol,
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=1000,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=10,
            ws="none",
        )
        with suppress(KeyboardInterrupt):  # raised after all requests are answered: the way to end it
            uvicorn.Server(config).run([listening])
