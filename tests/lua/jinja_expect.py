# SPDX-License-Identifier: MIT
"""Rewrite what jinja_cases.jsonl expects, by asking Python's jinja2 (3.1). Not run by the tests.

    python3 jinja_expect.py [FILE...]        default: jinja_cases.jsonl beside this script

The first line of a file holds the variables that all its cases see. A case is one line with `template`, and perhaps
`vars` (replacing the shared ones), `lenient` (a model's chat template: undefined prints as nothing) and `own` (true:
the expectation is ours and is left alone, since Python cannot say it). Added are `text`, or `line` of the error."""
import json
import pathlib
import sys
import traceback

import jinja2
import jinja2.ext
import jinja2.nodes


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %}: a transparent block, as in transformers."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


class TemplateRaised(Exception):
    pass


def raise_exception(message):
    raise TemplateRaised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(lenient):
    env = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation],
        undefined=jinja2.Undefined if lenient else jinja2.StrictUndefined)
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals.pop("lipsum")
    return env


ENVIRONMENTS = {lenient: environment(lenient) for lenient in (False, True)}


def error_line(error):
    """The template's line of an error: a syntax error knows it, others show it in their traceback."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines else 0


def fill(case, shared):
    if case.get("own"):
        return case
    case.pop("text", None)
    case.pop("line", None)
    try:
        # A copy: templates may change what they are given.
        variables = json.loads(json.dumps(case.get("vars", shared)))
        case["text"] = ENVIRONMENTS[case.get("lenient", False)].from_string(case["template"]).render(variables)
    except Exception as error:  # whatever Python raises is an error of the template
        case["line"] = error_line(error)
    return case


def main():
    names = sys.argv[1:] or [pathlib.Path(__file__).parent / "jinja_cases.jsonl"]
    for name in names:
        path = pathlib.Path(name)
        lines = path.read_text(encoding="utf-8").splitlines()
        shared = json.loads(lines[0])
        out = [lines[0]] + [json.dumps(fill(json.loads(line), shared), ensure_ascii=False) for line in lines[1:] if line]
        path.write_text("\n".join(out) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
