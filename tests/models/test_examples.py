"""The examples in the docstrings of models and data do what they show."""

import doctest
import importlib

import pytest

MODULES = ["vaeaudit.models.build", "vaeaudit.models.vae", "vaeaudit.data.registry"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
