"""Prints docs/reference/chart.md out of values.yaml: each value with its default and the comment above it.

A comment that starts with `# --` documents the next key, and keys that follow it without a comment of their own share it.
"""

import json
import os
import re

import yaml

path = os.path.join(os.path.dirname(__file__), "..", "values.yaml")
text = open(path, encoding="utf-8").read()
values = yaml.safe_load(text)

HEAD = """# Chart values

Generated from [values.yaml](../../charts/egressway/values.yaml) by `charts/egressway/tests/values_doc.py`; the chart's test
compares. A key that is not here is refused.

| value | default | |
| --- | --- | --- |
"""


def lookup(keys):
    found = values
    for key in keys:
        found = found[key]
    return found


def rows():
    keys, comment, documented = [], [], None
    skip_deeper_than = None
    for line in text.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if skip_deeper_than is not None and stripped and (indent > skip_deeper_than or stripped.startswith("- ")):
            continue
        if stripped.startswith("# --"):
            comment, documented = [stripped[4:].strip()], True
            continue
        if stripped.startswith("#"):
            if documented:
                comment.append(stripped[1:].strip())
            continue
        if not stripped:
            comment, documented, skip_deeper_than = [], None, None
            continue
        match = re.match(r"([A-Za-z0-9]+):", stripped)
        if not match:
            continue
        skip_deeper_than = None
        keys = keys[: indent // 2] + [match.group(1)]
        value = lookup(keys)
        leaf = not (isinstance(value, dict) and value) or documented
        if not leaf:
            comment = []
            continue
        yield ".".join(keys), json.dumps(value), " ".join(comment)
        documented = None
        if isinstance(value, dict) and value:
            skip_deeper_than = indent
        if isinstance(value, list) and value:
            skip_deeper_than = indent


def cell(text):
    return text.replace("|", "\\|")


print(HEAD + "\n".join(f"| `{key}` | `{cell(default)}` | {cell(comment)} |" for key, default, comment in rows()))
