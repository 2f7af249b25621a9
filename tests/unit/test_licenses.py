"""What goes along with mastosync may do so."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import Distribution
from typing import cast

import pytest

from scripts.licenses import NAMED, is_allowed, license_of, objections, shipped


def test_every_package_that_goes_along_may() -> None:
    assert list(objections(shipped())) == []


def test_all_that_is_required_is_looked_at_and_no_tool() -> None:
    names = set(shipped())
    assert {"boto3", "botocore", "urllib3", "cryptography", "psycopg-binary", "pycurl", "tqdm"} <= names
    assert names.isdisjoint({"pytest", "ruff", "mypy", "moto", "hypothesis"})


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("LGPL-2.1-only OR MIT", True),
        ("MPL-2.0 AND MIT", False),
        ("(MIT AND ISC) OR GPL-3.0-only", True),
        ("GPL-3.0-or-later", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_a_choice_is_enough_and_a_sum_needs_all(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


class Package:
    """Says something of itself."""

    version = "1.0"

    def __init__(self, **metadata: str) -> None:
        self.metadata = Message()
        for name, value in metadata.items():
            self.metadata[name.replace("_", "-")] = value


def package(**metadata: str) -> Distribution:
    return cast("Distribution", Package(**metadata))


def test_a_package_is_known_by_what_it_says_of_itself() -> None:
    assert license_of(package(License_Expression="MIT-0")) == "MIT-0"
    assert license_of(package(Classifier="License :: OSI Approved :: Apache Software License")) == "Apache-2.0"
    assert license_of(package(License="Apache License 2.0")) == "Apache-2.0"
    assert license_of(package()) == "unknown"


def test_another_license_than_the_one_agreed_to_is_an_objection() -> None:
    changed = {name: package(License_Expression=told) for name, (told, _) in NAMED.items()}
    assert list(objections(changed)) == []
    changed["paramiko"] = package(License_Expression="GPL-3.0-only")
    changed["new"] = package(License_Expression="AGPL-3.0-only")
    found = "\n".join(objections(changed))
    assert "paramiko 1.0: GPL-3.0-only" in found
    assert "new 1.0: AGPL-3.0-only" in found
