"""Settings from the command line are of the kind that the preset has."""

import click
import pytest

from vaeaudit.study.find import list_studies, load_study
from vaeaudit.study.kinds import check_kinds

KNOWN = {"epochs": 200, "rate": 0.003, "data": "digits", "weights": [1.0, 0.1], "seeds": [0, 1], "num_train": None,
         "download": True, "groups": ["linear"]}  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3}, {"rate": 1}, {"rate": 0.1}, {"data": "mnist"}, {"weights": [1, 0.5]}, {"weights": []},
        {"num_train": 1000}, {"num_train": None}, {"download": False}, {"groups": ["linear", "digits"]},
        {"unheard": 1},  # another check names what is known
    ],
)  # fmt: skip
def test_values_of_the_same_kind_pass(given):
    check_kinds(KNOWN, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": "many"}, "setting 'epochs' is a whole number such as 200; got \"many\"."),
        ({"epochs": 2.5}, "setting 'epochs' is a whole number such as 200; got 2.5."),
        ({"epochs": True}, "setting 'epochs' is a whole number such as 200; got true."),
        ({"rate": [0.1]}, "setting 'rate' is a number such as 0.003; got [0.1]."),
        ({"data": 3}, "setting 'data' is a word such as \"digits\"; got 3."),
        ({"download": 0}, "setting 'download' is true or false, such as true; got 0."),
        (
            {"weights": 0.5},
            "setting 'weights' is a list such as [1.0, 0.1]; got 0.5. Write --set 'weights=[0.5]'.",
        ),
        ({"weights": ["a"]}, "setting 'weights' is a list such as [1.0, 0.1]; got [\"a\"]."),
        ({"seeds": 5}, "setting 'seeds' is a list such as [0, 1]; got 5. For 5 seeds say --seeds 5."),
        (
            {"groups": "digits"},
            'setting \'groups\' is a list such as ["linear"]; got "digits". Write --set \'groups=["digits"]\'.',
        ),
    ],
)
def test_another_kind_is_refused_with_what_is_wanted(given, message):
    with pytest.raises(click.UsageError) as refused:
        check_kinds(KNOWN, given)
    assert refused.value.message == message


def test_every_preset_of_a_study_has_settings_of_one_kind():
    for name in (study.name for study in list_studies()):
        presets = load_study(name).presets
        for preset in presets.values():
            for other in presets.values():
                check_kinds(preset, other)
