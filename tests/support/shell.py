"""An admin's shell: commands as they stand on the screen or in the documents, word for word."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.site import COMMAND, Site

_STUB = '#!/bin/sh\necho "$(basename "$0") $*" >> {log}\n'


@dataclass
class Shell:
    """In the folder of a site. What the system itself has is made up: nginx's folder, `nginx` and `systemctl`."""

    site: Site
    tmp_path: Path
    secrets: tuple[str, ...]  # that no command may print
    environ: Mapping[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)  # of the machine → what stands for it here

    def __post_init__(self) -> None:
        programs = self.tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        for name in ("nginx", "systemctl"):
            (programs / name).write_text(_STUB.format(log=shlex.quote(str(self.tmp_path / "done.log"))))
            (programs / name).chmod(0o755)
        (self.nginx / "conf.d").mkdir(parents=True, exist_ok=True)
        self.paths["/etc/nginx"] = str(self.nginx)

    @property
    def nginx(self) -> Path:
        """Where nginx has its configuration."""
        return self.tmp_path / "etc-nginx"

    def run(self, line: str, code: int = 0) -> str:
        """What a command prints that ends with this exit code, and prints no secret.

        One of ours alone, without anything that only a shell does, is forked: a start of the interpreter costs more.
        """
        words = line
        for there, here in self.paths.items():
            words = words.replace(there, shlex.quote(here))
        environ = {"MASTOSYNC_COPY_SERVER_SIDE": "never", **self.environ}
        if line.startswith("mastosync ") and not set(line) & set("|<>&;$`"):
            done = replace(self.site, environ=self.site.environ | environ).run(*shlex.split(words)[1:], code=None)
        else:
            path = f"{self.tmp_path / 'bin'}:{COMMAND.parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", words],
                cwd=self.site.folder,
                env={**self.site.environment(), "PATH": path, **environ},
                capture_output=True,
                text=True,
                check=False,
                timeout=240,
            )
        assert done.returncode == code, f"{line}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert not any(secret in done.stdout + done.stderr for secret in self.secrets), line
        return done.stdout
