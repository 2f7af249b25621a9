"""What the global options stand for: configuration, manifest, progress and logs of one run."""

from __future__ import annotations

import logging
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.cli.logs import logging_to
from mastosync.cli.output import show, show_fault, warn
from mastosync.cli.signals import handling_signals
from mastosync.config import Config, Environment, Scrubber, ambient_secrets, find_config, load_config
from mastosync.errors import ConfigError, ManifestError, MastosyncError, OutputError
from mastosync.language import tr
from mastosync.runtime.stop import StopSignal

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.progress import ProgressListener


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options before the command."""

    config: Path | None = None
    manifest: Path | None = None
    verbose: int = 0
    quiet: bool = False
    log_file: Path | None = None
    log_format: str = "text"
    no_progress: bool = False
    debug: bool = False

    @property
    def again(self) -> tuple[str, ...]:
        """Those that name the same configuration and manifest again."""
        named = (("-c", self.config), ("--manifest", self.manifest))
        return tuple(word for name, path in named if path for word in (name, str(path)))

    @property
    def typed(self) -> str:
        """The command with these options."""
        return shlex.join(["mastosync", *self.again])


class Invocation:
    """One run of one command. Nothing is read before it is asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.options = GlobalOptions()
        self.environ = Environment(environ)
        self.log_error: OutputError | None = None  # the log is not whole; a warning was shown

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises: ConfigError."""
        config = load_config(self._config_path, self.environ)
        for warning in config.warnings:
            warn(warning)
        return config

    @cached_property
    def _config_path(self) -> Path | None:
        return find_config(self.options.config, self.environ, self.folder)

    @property
    def folder(self) -> Path:
        """The working folder. Raises: ConfigError if it was removed."""
        try:
            return Path.cwd()
        except FileNotFoundError:
            hint = tr("go to another folder, and run it there")
            raise ConfigError(tr("the folder in which this command runs was removed"), hint=hint) from None

    @cached_property
    def manifest_path(self) -> Path:
        """The path of the manifest: by the option, the environment, the configuration, or in this folder.

        Raises: ManifestError if none lies here, and one beside the configuration, where nobody has named either.
        """
        if self.options.manifest is not None:
            return self.options.manifest
        if named := self.environ.get("MASTOSYNC_MANIFEST"):
            return Path(named)
        path = self.config.manifest.path
        if "MASTOSYNC_MANIFEST_PATH" not in self.environ:
            self._require_not_beside(path)
        return path

    def _require_not_beside(self, path: Path) -> None:
        """Raises: ManifestError if a manifest lies beside the configuration, in another folder: it may be meant."""
        from mastosync.app.context import manifest_beside

        file = self.config.path
        beside = manifest_beside(file, path) if file else None
        if beside is None:
            return
        raise ManifestError(
            tr("there is no manifest at {path}, but one beside the configuration: {beside}", path=path, beside=beside),
            hint=tr(
                "name the one that you mean: `{command}`, and so with every command. To begin another one here:"
                " --manifest {path}",
                command=f"{replace(self.options, manifest=beside).typed} status",
                path=shlex.quote(str(path)),
            ),
        )

    @contextmanager
    def running(self, *, stop_at_once: bool = False, manifest_alone: bool = False) -> Iterator[Context]:
        """The context of work that takes time: with progress, logs, and signals heeded.

        `manifest_alone`: no configuration is needed if the manifest is named.
        """
        from mastosync.app.context import Context

        listener = self._listener()
        stop = StopSignal()
        with self._logging(listener), handling_signals(stop, listener, at_once=stop_at_once):
            config = self._config_if_any if manifest_alone else self.config
            context = Context(config, self.manifest_path, listener, stop)
            exposed = self._warn_of_files()
            if self.options.log_file is not None:  # they are on the screen already
                for warning in (*config.warnings, *exposed):
                    _log.warning("%s", warning)
            yield context

    def context_to_read(self) -> Context:
        """The context of a question that only the manifest answers: no configuration is needed if it is named."""
        from mastosync.app.context import Context
        from mastosync.progress import NoProgress

        context = Context(self._config_if_any, self.manifest_path, NoProgress(), StopSignal())
        self._warn_of_files()
        return context

    @property
    def _config_if_any(self) -> Config:
        named = self.options.manifest or self.environ.get("MASTOSYNC_MANIFEST")
        return Config() if named and self._config_path is None else self.config

    def scrubbed(self, text: str) -> str:
        """Text of a library, without the secrets of environment and configuration."""
        try:
            configured = tuple(self.config.secrets())
        except MastosyncError:
            configured = ()  # what was never read is in no text
        return Scrubber((*configured, *ambient_secrets(self.environ)))(text)

    def say(self, text: str) -> None:
        """Print a result for people, unless --quiet."""
        if not self.options.quiet:
            show(text)

    def remark(self, text: str) -> None:
        """Print a remark on a list, beside it, unless --quiet."""
        if not self.options.quiet:
            show_fault(text)

    def tell_news(self, news: Mapping[str, int]) -> None:
        """With --quiet, warn at least of new failures, given by reason."""
        if news and self.options.quiet:
            from mastosync.cli.copy_results import news_line

            warn(news_line(news))

    def _warn_of_files(self) -> tuple[str, ...]:
        exposed = tuple(files_open_to_all(self.manifest_path, self.options.log_file))
        for warning in exposed:
            warn(warning)
        return exposed

    def _listener(self) -> ProgressListener:
        from mastosync.progress import BarProgress, LineProgress, MessagesOnly, NoProgress

        if self.options.quiet:
            return NoProgress()
        if self.options.no_progress:
            return MessagesOnly()
        return BarProgress() if sys.stderr.isatty() else LineProgress()

    @contextmanager
    def _logging(self, listener: ProgressListener) -> Iterator[None]:
        options = self.options
        with logging_to(options.log_file, options.log_format, options.verbose, listener, self._log_lost):
            yield

    def _log_lost(self, error: OutputError) -> None:
        """Warn at once that the log cannot be written; the run goes on."""
        self.log_error = error
        warn(tr("{problem}; the run goes on", problem=error.message))


def files_open_to_all(*files: Path | None) -> Iterator[str]:
    """A warning for each file that all users of this machine can read or write.

    These files are made for their owner alone. If a group was given access later, that was meant: no warning. Modes
    are never changed here.
    """
    for file in files:
        if file is None:
            continue
        try:
            mode = file.stat().st_mode
        except OSError:
            continue  # opening it will raise
        if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            command = f"chmod 600 {shlex.quote(str(file))}"
            yield (
                tr("{file} can be written by everybody on this machine: {command}", file=file, command=command)
                if mode & stat.S_IWOTH
                else tr("{file} can be read by everybody on this machine: {command}", file=file, command=command)
            )
