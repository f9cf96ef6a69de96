"""bilinear serve: the model behind an address, with feedback that is kept."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bilinear.cli import options
from bilinear.cli.output import print_note
from bilinear.errors import ParameterValueError
from bilinear.optional_packages import extra

NAME = "serve"
HELP = "Serve a model: recommendations, search, feedback and a page to see it all."
EXAMPLES = """Examples:

bilinear serve model

bilinear serve model --store postgresql://me@localhost/shop --retrain-every 24 --update-every 60

bilinear serve model --host 0.0.0.0 --token-file tokens.txt --rate-limit 50

bilinear serve model --token-file tokens.txt --public-url https://films.example.org/ --trusted-proxy 127.0.0.1
"""


def command(
    model: options.Model,
    items: Annotated[
        Path | None, typer.Option(help="Titles and categories, for a model trained without them.")
    ] = None,
    items_quote: options.ItemsQuote = "auto",
    items_id: options.ItemsId = None,
    items_title: options.ItemsTitle = None,
    store: Annotated[
        str,
        typer.Option(
            help="Where feedback is kept: sqlite:///FILE or postgresql://USER@HOST/DATABASE; the password is "
            "best left to PGPASSWORD or ~/.pgpass."
        ),
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
    public_url: Annotated[
        str | None, typer.Option(help="The address that browsers see, where a TLS proxy stands in front.")
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network whose X-Forwarded-For and -Proto are believed; repeatable."),
    ] = None,
    most_connections: Annotated[
        int, typer.Option(help="Open connections in all; health is answered beyond them.", min=1)
    ] = 1000,
    most_per_address: Annotated[
        int, typer.Option(help="Open connections from one address, trusted proxies apart.", min=1)
    ] = 200,
    retrain_every: Annotated[
        float | None, typer.Option(help="Hours between trainings, as long as feedback came in.", min=0.001)
    ] = None,
    update_every: Annotated[
        float | None,
        typer.Option(
            help="Seconds between updates, by which the model learns feedback and new items without being "
            "trained again, see `bilinear update`.",
            min=0.1,
        ),
    ] = None,
    max_worse: Annotated[
        float,
        typer.Option(help="Share by which a new model may score worse and still go live.", min=0, max=1),
    ] = 0.02,
    keep_answers: Annotated[
        int,
        typer.Option(
            help="Megabytes of lists that are kept, to be given again while model and feedback are the same.",
            min=0,
        ),
    ] = 32,
    read_only_model: Annotated[
        bool,
        typer.Option(
            "--read-only-model",
            help="Leave the model folder to another server: no training and no rollback here.",
        ),
    ] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="A log line for every request.")] = False,
) -> None:
    with extra("serve"):
        from bilinear.serving.http.app import create_app
        from bilinear.serving.http.guard import is_loopback, names_of
        from bilinear.serving.http.proxies import Proxies
        from bilinear.serving.http.uvicorn_protocol import Limits, files_for, say_early, uvicorn_server
    if token_file is None and not is_loopback(host):
        raise ParameterValueError(
            f"--host {host} can be reached by others: give --token-file, or listen on 127.0.0.1"
        )
    if public_url is not None and token_file is None:
        print_note("without --token-file every client that the proxy lets through may read and write")
    limits = Limits(connections=files_for(most_connections), per_address=most_per_address)
    if limits.connections < most_connections:
        print_note(
            f"{limits.connections} connections at most: this system allows no more open files (ulimit -n)"
        )
    app = create_app(
        model,
        store=store,
        items=items,
        items_quote=items_quote,
        items_id=items_id,
        items_title=items_title,
        token_file=token_file,
        hosts=tuple(names_of(host)),
        rate_limit=rate_limit,
        public_url=public_url,
        trusted_proxies=trusted_proxy or (),
        retrain_every=None if retrain_every is None else 3600 * retrain_every,
        update_every=update_every,
        max_worse=max_worse,
        access_log=access_log,
        read_only_model=read_only_model,
        most_kept=keep_answers << 20,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        say_early(listening)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise ParameterValueError(
                f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port or --host"
            ) from None
        listening.listen(2048)
        port = listening.getsockname()[1]
        print_note(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (API: /docs; stop with Ctrl-C)")
        with suppress(KeyboardInterrupt):  # raised after all requests are answered: the way to end it
            uvicorn_server(app, limits, Proxies(trusted_proxy or ())).run([listening])
        gc.freeze()  # what is left ends with the process: a collection while Python ends has crashed
