"""The thinnest line through all parts: create, exec, preview, sleep, wake."""

from case import Case, until


class Line(Case):
    def test_create_exec_preview_stop_visit(self):
        box = self.s.create_app(3000, ports=[3000], env={"COLOUR": "green"})

        r = self.s.exec(box, "echo out; echo err >&2; echo $COLOUR; exit 3")
        self.assertEqual(("out\ngreen\n", "err\n", 3),
                         (r["stdout"], r["stderr"], r["exit_code"]))

        a = self.status(200, self.s.preview(box, 3000, "/first?a=b"))
        self.assertEqual("/first?a=b", a.json["path"])
        self.s.sh(box, "echo kept > $HOME/file")

        self.s.stop_box(box)
        self.assertEqual("stopped", self.s.state(box))
        docker = self.s.container(box)
        self.assertTrue(docker is None or docker["State"] == "exited")

        # The visit is held, starts the sandbox, and the app itself answers.
        a = self.s.preview(box, 3000, "/second", "POST", b"x" * 100000)
        self.status(200, a)
        self.assertEqual(("POST", "/second", 100000),
                         (a.json["method"], a.json["path"],
                          a.json["body_bytes"]))
        self.assertEqual("running", self.s.state(box))
        self.assertEqual("kept\n", self.s.sh(box, "cat $HOME/file"))
        self.assertEqual("green\n", self.s.sh(box, "echo $COLOUR"))

        self.s.purge(box)
        self.status(404, self.s.api("GET", f"/v1/sandboxes/{box}"))
        self.assertIsNone(self.s.container(box))
        self.status(404, self.s.preview(box, 3000))
