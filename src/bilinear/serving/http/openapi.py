"""The OpenAPI document and its page, both made from the table of operations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

import msgspec

from bilinear.serving.http.operations import Operation
from bilinear.serving.messages import Problem, ProblemAnswer

_REF = "#/components/schemas/{name}"
_REFUSALS = {
    400: "The request does not fit: `code` and `message` say where.",
    401: "No token, or a wrong one.",
    403: "The token may only read, or a page of another origin asked.",
    404: "Unknown item, user, rating or category.",
    408: "The body did not come in time.",
    409: "The model that is served, or the state of the server, does not allow this.",
    413: "The body is too long.",
    415: "The body is of another media type.",
    422: "A column that the model does not know; the message names those that it does.",
    421: "This server does not answer for that host.",
    429: "Too many requests; Retry-After says how long to wait.",
    503: "The feedback store cannot be used now, or the server is busy; nothing was acknowledged. Try again.",
}
_ALWAYS = (400, 401, 403, 421, 429, 503)
_WITH_BODY = (408, 413, 415)


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """OpenAPI 3.1, as JSON values."""
    operations = list(operations)
    types: set[Any] = {ProblemAnswer, Problem}
    for operation in operations:
        types |= {kind for kind in (operation.query, operation.body, operation.answer) if kind is not None}
    _, components = msgspec.json.schema_components(sorted(types, key=lambda t: t.__name__), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, components)
    # Queries are listed as parameters; only what something refers to is a type of its own.
    text = json.dumps([paths, components])
    components = {
        name: schema for name, schema in components.items() if f'"{_REF.format(name=name)}"' in text
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bilinear",
            "version": version,
            "description": "Recommendations from one model and one feedback store. Ids are any text and "
            "travel in the query string (percent-encoded UTF-8) or in JSON bodies, never in the path.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    statuses = [*_ALWAYS, *(_WITH_BODY if operation.body else ()), *operation.can_fail]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.words,
        "tags": [operation.tag],
        "parameters": _parameters(components[operation.query.__name__]),
        "responses": {
            "200": {"description": "Done.", "content": _content(operation.answer, operation.answers)},
            **{str(status): _refusal(operation, status) for status in sorted(set(statuses))},
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": _content(operation.body, operation.bodies),
        }
    if operation.access != "open":
        described["security"] = [{"token": []}, {}]
    return described


def _refusal(operation: Operation, status: int) -> dict[str, Any]:
    kind = operation.answer if operation.name == "ready" and status == 503 else ProblemAnswer
    return {"description": _REFUSALS[status], "content": _content(kind, ("application/json",))}


def _content(kind: type | None, media: tuple[str, ...]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in media:
        is_json = name == "application/json"
        schema = {"$ref": _REF.format(name=kind.__name__)} if is_json and kind else {"type": "string"}
        content[name] = {"schema": schema}
    return content


def _parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    parameters = []
    for name, field in schema["properties"].items():
        field = dict(field)
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        if "description" in field:
            parameter["description"] = field.pop("description")
        parameter["schema"] = field
        if field.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        if field.get("type") == "object":  # each entry is a parameter
            parameter["schema"] = {"type": "object", "additionalProperties": _one_of(field)}
            parameter |= {"style": "form", "explode": True}
        parameters.append(parameter)
    return parameters


def _one_of(field: dict[str, Any]) -> dict[str, Any]:
    items: dict[str, Any] = field["additionalProperties"]["items"]
    return items


def page(described: dict[str, Any]) -> bytes:
    """The document to read: no script, nothing from elsewhere."""
    parts = [_HEAD, f"<h1>bilinear API {escape(described['info']['version'])}</h1>"]
    parts.append(f"<p>{escape(described['info']['description'])} ")
    parts.append("For programs: <a href='openapi.json'>openapi.json</a>.</p>")
    by_tag: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_section(path, method, operation))
    for tag, sections in by_tag.items():
        parts += [f"<h2>{escape(tag)}</h2>", *sections]
    parts.append("<h2>Types</h2>")
    for name, schema in sorted(described["components"]["schemas"].items()):
        text = json.dumps(schema, indent=1, ensure_ascii=False)
        parts.append(
            f"<details id='{escape(name)}'><summary>{escape(name)}</summary>"
            f"<pre tabindex='0'>{escape(text)}</pre></details>"
        )
    return "".join([*parts, "</main>"]).encode()


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = []
    for parameter in operation["parameters"]:
        schema = {
            name: value for name, value in parameter["schema"].items() if name not in ("title", "pattern")
        }
        rows.append(
            f"<tr><td><code>{escape(parameter['name'])}</code>{' (needed)' if parameter['required'] else ''}"
            f"<td><code>{escape(json.dumps(schema))}</code><td>{escape(parameter.get('description', ''))}"
        )
    body = ""
    if "requestBody" in operation:
        body = f"<p>Body: {_linked(operation['requestBody']['content'])}</p>"
    answers = "; ".join(
        f"{status} {_linked(answer['content'])}" if status == "200" else status
        for status, answer in operation["responses"].items()
    )
    table = f"<table tabindex='0'><tr><th>query<th>type<th>{''.join(rows)}</table>" if rows else ""
    return (
        f"<h3><code>{method.upper()} {escape(path)}</code></h3><p>{escape(operation['summary'])}</p>"
        f"{table}{body}<p>Answers: {answers}</p>"
    )


def _linked(content: dict[str, Any]) -> str:
    links = []
    for media, entry in content.items():
        name = entry["schema"].get("$ref", "").rpartition("/")[2]
        links.append(f"<a href='#{escape(name)}'>{escape(name)}</a>" if name else escape(media))
    return ", ".join(links)


_HEAD = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><title>bilinear API</title>"
    "<meta name='viewport' content='width=device-width'>"
    "<link rel='icon' href='icon.svg' type='image/svg+xml'><link rel='stylesheet' href='docs.css'><main>"
)
STYLE = b"""
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1rem }
h3 { margin: 2rem 0 0; border-top: 1px solid #8886; padding-top: 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top }
pre { overflow-x: auto }
@media (prefers-color-scheme: dark) {
  :root { background: #15191e; color: #e6eaee } a { color: #9ec5ff } a:visited { color: #c9b3f5 }
}
"""
