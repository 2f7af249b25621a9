"""Whether everything that an installed mastosync brings along may be given on beside MIT code.

    python -m scripts.licenses

looks at what is installed here: mastosync's requirements, theirs, and so on. Tools and tests are not given on, and not
looked at. Exit code 1 names each package whose license is not in the tables below.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

ALLOWED = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "0BSD"})
"""Of these it is enough to pass the license text on."""

NAMED = {
    "paramiko": ("LGPL-2.1", "a library that is imported, neither changed nor copied into ours"),
    "psycopg": ("LGPL-3.0-only", "the same; and anybody may put another version in its place"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg, whose compiled part it is"),
    "tqdm": ("MPL-2.0 AND MIT", "its files stay under their license, which asks nothing of others"),
}
"""What is taken for a reason, as long as its license stays the one that was looked at."""

_SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
}


def shipped(name: str = "mastosync") -> dict[str, Distribution]:
    """A package's requirements, and theirs, by name: those that this machine and Python have."""
    found: dict[str, Distribution] = {}
    waiting, seen = [Requirement(name)], set[str]()
    while waiting:
        wanted = waiting.pop()
        extras = ("", *wanted.extras)
        for each in map(Requirement, distribution(wanted.name).requires or ()):
            needed = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
            if needed and str(each) not in seen:
                seen.add(str(each))
                found[_name(each.name)] = distribution(each.name)
                waiting.append(each)
    return found


def license_of(of: Distribution) -> str:
    """What a package says of itself, as an SPDX expression as far as it can be read as one."""
    told: dict[str, str] = dict(of.metadata.items()) if isinstance(of.metadata, Message) else {}
    if expression := told.get("License-Expression"):
        return _SPELLINGS.get(expression, expression)
    classifiers = of.metadata.get_all("Classifier") or ()
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: OSI Approved :: ")]
    # several classifiers are a choice, as in python-dateutil
    said = " OR ".join(_SPELLINGS.get(name, name) for name in names) or told.get("License") or "unknown"
    return _SPELLINGS.get(said, said)


def is_allowed(expression: str) -> bool:
    """Whether one of the choices is made of nothing but allowed licenses."""
    choices = re.split(r"\s+OR\s+", expression.strip("()"))
    return any(all(part.strip("() ") in ALLOWED for part in re.split(r"\s+AND\s+", choice)) for choice in choices)


def objections(packages: dict[str, Distribution]) -> Iterator[str]:
    """A line for each package whose license nobody has agreed to, and for each agreement that nobody needs."""
    for name, of in sorted(packages.items()):
        told = license_of(of)
        if name in NAMED and told != NAMED[name][0]:
            yield f"{name} {of.version}: {told}, and not {NAMED[name][0]} any more"
        elif name not in NAMED and not is_allowed(told):
            yield f"{name} {of.version}: {told} is not among the licenses that may go along"
    yield from (f"{name} is agreed to, but not shipped" for name in sorted(NAMED.keys() - packages.keys()))


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Print every license, and what is wrong with it."""
    packages = shipped()
    for name, of in sorted(packages.items()):
        print(f"{name:20} {of.version:14} {license_of(of)}")
    wrong = list(objections(packages))
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(packages)} packages go along with mastosync, {len(wrong)} objections")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
