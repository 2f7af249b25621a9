"""nginx, the one that is installed or was unpacked from a package; see `make build/nginx`."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path

from lab.client import ROOT
from lab.ports import accepts_connections
from lab.process import LabError, ServerProcess

START_SECONDS = 90
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", str(ROOT / "build/nginx/usr/sbin"))

_MAIN = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    types {{ image/png png; video/mp4 mp4; }}
    client_body_temp_path unused; proxy_temp_path incoming;
    fastcgi_temp_path unused; uwsgi_temp_path unused; scgi_temp_path unused;
    include site.conf;
}}
"""


def find_nginx() -> Path:
    """The program. Raises: LabError with what to do if there is none."""
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    if found is None:
        raise LabError(
            "there is no nginx here: install it (apt install nginx, brew install nginx), "
            "or let `make build/nginx` unpack Debian's or Ubuntu's package, which installs nothing"
        )
    return Path(found).absolute()


def why_no_nginx() -> str:
    """What there is to say of an nginx that is missing; empty if there is one."""
    try:
        find_nginx()
    except LabError as error:
        return str(error)
    return ""


def user_line(name: str = "") -> str:
    """Started by root, nginx would become nobody, who may not read the folder of a test: it stays who we are."""
    if os.geteuid() != 0:
        return ""
    user = pwd.getpwnam(name) if name else pwd.getpwuid(0)
    return f"user {user.pw_name} {grp.getgrgid(user.pw_gid).gr_name};"


class NginxServer:
    """One nginx with what is included in its `http { }`, for as long as it is entered."""

    def __init__(self, folder: Path, site: str, port: int, user: str = "") -> None:
        """`folder` takes everything; `site` is what is included; `port` is one that it listens on.

        `user`: who it is to be, if we are root.
        """
        self._folder, self._port = folder.resolve(), port
        self._folder.mkdir(exist_ok=True)
        (self._folder / "nginx.conf").write_text(_MAIN.format(user=user_line(user)), encoding="utf-8")
        (self._folder / "site.conf").write_text(site, encoding="utf-8")
        self._process: ServerProcess | None = None

    @property
    def command(self) -> list[str | Path]:
        """How it is started; with `-t`, it only looks at its configuration."""
        return [find_nginx(), "-e", "stderr", "-p", self._folder, "-c", self._folder / "nginx.conf"]

    def __enter__(self) -> NginxServer:
        self._process = ServerProcess("nginx", self.command, self._folder)
        try:
            self._process.wait_until(lambda: accepts_connections(self._port), START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
