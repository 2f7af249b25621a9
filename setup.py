"""The step of a build that setup.cfg cannot name: catalogs of messages are compiled, whatever is being installed."""

from __future__ import annotations

from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALES = Path(__file__).with_name("mastosync") / "locale"


def compile_catalogs(folder: Path = LOCALES) -> None:
    """Make the `.mo` that runs beside each `.po`. It lacks what has no translation, so that is said in English."""
    for path in folder.glob("*/LC_MESSAGES/*.po"):
        catalog = read_po(path.read_bytes().splitlines(keepends=True), locale=path.parts[-3])
        for message in list(catalog):
            if not all(message.string or ()):  # of several forms, for which Babel would write the English ones
                catalog.delete(message.id)
        unfinished = path.with_suffix(".new")
        with unfinished.open("wb") as file:
            write_mo(file, catalog)
        unfinished.replace(path.with_suffix(".mo"))


def build() -> None:
    """Do what setup.cfg says, with compiled catalogs among the package's data."""
    from setuptools import setup  # noqa: PLC0415 - a build has it; the tests, which compile catalogs too, may not
    from setuptools.command.build_py import build_py  # noqa: PLC0415

    class BuildWithCatalogs(build_py):  # type: ignore[misc]
        def run(self) -> None:  # for a wheel, and in place for an editable installation
            compile_catalogs()
            super().run()

    setup(cmdclass={"build_py": BuildWithCatalogs})


if __name__ == "__main__":
    build()
