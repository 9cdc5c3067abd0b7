"""The mark of tests that run on one database, beside others of their folder that run on both."""

import pytest

from tests.run_database import RUN_KIND

# `database` is then of the run's kind alone. Each statement of such a test is run by at least two others of its folder on both kinds.
ON_ONE_DATABASE = pytest.mark.parametrize("database", [RUN_KIND], indirect=True)
