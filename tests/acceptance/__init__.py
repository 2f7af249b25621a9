"""The installed command, run as a user runs it."""

import pytest

pytest.register_assert_rewrite("tests.acceptance.stores", "tests.acceptance.site")
