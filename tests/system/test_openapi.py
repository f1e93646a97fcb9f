"""docs/openapi.yaml says what the program does: its routes, codes and fields.

Read without a YAML library: the file keeps to two spaces a level, one key a
line for paths and methods.
"""

import os
import re
import subprocess
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PRINT = [os.environ.get("TEST_ROUTER", f"{TOP}/build/unit/test_router"),
         "--print"]
METHODS = {"get", "put", "post", "patch", "delete"}
FORMS = {"BaseCreate": 1, "Create": 2, "Patch": 4}


def section(lines, head):
    """The lines below `head`, as long as they are deeper."""
    depth = len(head) - len(head.lstrip())
    out, inside = [], False
    for line in lines:
        if line == head:
            inside = True
        elif inside and line.strip() and \
                len(line) - len(line.lstrip()) <= depth:
            break
        elif inside:
            out.append(line)
    assert out, f"there is no {head!r}"
    return out


def keys(lines, depth):
    pattern = re.compile(rf"^ {{{depth}}}([A-Za-z_]\w*):")
    return [m.group(1) for m in map(pattern.match, lines) if m]


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(f"{TOP}/docs/openapi.yaml") as f:
            cls.lines = f.read().split("\n")
        told = subprocess.run(PRINT, stdout=subprocess.PIPE, check=True,
                              text=True).stdout.split("\n")
        told = [line.split() for line in told if line]
        cls.codes = {t[1]: (int(t[2]), t[3]) for t in told
                     if t[0] == "code"}
        cls.fields = {t[1]: int(t[2]) for t in told if t[0] == "field"}
        cls.routes = {(t[0], t[1]): t[3] == "501" for t in told
                      if t[0] not in ("code", "field")}

    def documented(self):
        """(method, path) and the text of each operation."""
        path = method = None
        found = {}
        for line in section(self.lines, "paths:"):
            m = re.match(r"^  (/\S*):$", line)
            if m:
                path, method = m.group(1), None
            m = re.match(r"^    (\w+):", line)
            if m:
                method = m.group(1) if m.group(1) in METHODS else None
                if method:
                    self.assertNotIn((method.upper(), path), found)
                    found[method.upper(), path] = []
            elif method:
                found[method.upper(), path].append(line)
        return {k: "\n".join(v) for k, v in found.items()}

    def test_routes(self):
        found = self.documented()
        ours = {k for k, text in found.items()
                if "x-holdfast-guest: true" not in text}
        self.assertEqual(set(self.routes), ours)
        self.assertEqual({("POST", "/sandbox/{id}/exec"),
                          ("POST", "/v1/sandboxes/{id}/exec")},
                         set(found) - ours)

    def test_what_is_later(self):
        for route, text in self.documented().items():
            self.assertEqual(self.routes.get(route, False),
                             "x-holdfast-later: true" in text, route)
            self.assertIn("responses:", text)

    def test_operation_ids_are_unique(self):
        ids = [re.search(r"operationId: (\w+)", t).group(1)
               for t in self.documented().values()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_codes(self):
        lines = section(self.lines, "    ErrorCode:")
        listed = re.findall(r"^        - (\w+)$", "\n".join(lines), re.M)
        told = re.findall(r"^        (\w+): \{status: (\d+), "
                          r"retryable: (\w+)\}$", "\n".join(lines), re.M)
        self.assertEqual(list(self.codes), listed)
        self.assertEqual(self.codes, {c: (int(s), r) for c, s, r in told})

    def test_fields(self):
        for schema, form in FORMS.items():
            lines = section(self.lines, f"    {schema}:")
            self.assertEqual({f for f, n in self.fields.items() if n & form},
                             set(keys(lines, 8)), schema)

    def test_references(self):
        text = "\n".join(self.lines)
        for kind, name in set(re.findall(r"#/components/(\w+)/(\w+)", text)):
            self.assertRegex(text, rf"(?m)^    {name}:", f"{kind}/{name}")
