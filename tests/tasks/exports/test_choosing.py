"""The filter's grammar: what each term means, and that nothing else is read."""

import pytest

from tasks.errors import UserError
from tasks.exports.choosing import means, read_filter
from tasks.exports.opening import Item


@pytest.fixture(scope="module")
def row(items: dict[str, Item]):
    found = next(item.row for item in items.values() if item.row.instances == 3)
    return found.model_copy(
        update={
            "verbs": ("is holding", "picks up"),
            "nouns": ("man", "cup", "toy car"),
            "contact": (5, 2),
            "license": None,
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "verb=hold", "verb=holds", "verb='pick up'", "verb=push,hold", "verb!=kick", "noun=cup ids<=3", "ids=2,3",
        'noun="toy car"', "noun~car", "license=none", "split=train,val", "contact>=5", "contact<3", "contact=4,5",
        "ids!=4 frames=5 side>0", "text~NÄHER", "verb=pick",
    ],
)  # fmt: skip
def test_lets_through(row, text):
    assert read_filter(text)(row)


@pytest.mark.parametrize(
    "text",
    ["verb=kick", "verb=hold ids>3", "noun=ca", "contact=3", "verb!=hold", "license!=none", "verb='hold up'", "key=0"],
)
def test_keeps_out(row, text):
    assert not read_filter(text)(row)


@pytest.mark.parametrize(
    "text",
    [
        "hold", "verb", "verb=", "verb=a,", "age=3", "ids=three", "ids~3", "verb<hold", "ids<3,4", "noun='a",
        "__class__=x", "ids==3", "lambda:0", "ids<=nine)",
    ],
)  # fmt: skip
def test_tells_what_it_cannot_read(text):
    with pytest.raises(UserError) as told:
        read_filter(text)
    assert str(told.value).startswith("--filter") and "\n" not in str(told.value)


def test_verbs_by_their_base_form():
    assert means("hold", "held") and means("carry", "is carrying") and means("carries", "carried")
    assert not means("hold", "folds")
