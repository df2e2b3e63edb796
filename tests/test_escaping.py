"""Names in Markdown: what GitHub would take for emphasis, a link, an image or an entity is shown sign by sign."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustboard.benchmark.report.escaping import for_markdown, for_terminal

SIGNS = st.text(st.sampled_from("ab 1_*`~[]()<>&;|\\!#-:lt\n"), max_size=40)
BARE = re.compile(r"(?<!\\)_")


def read_back(markdown: str) -> str:
    """The text of inline Markdown that has no construct in it: backslashes before punctuation go, entities are their signs."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown))


@given(st.one_of(SIGNS, st.text(max_size=40)))
def test_what_is_shown_is_the_text(text: str) -> None:
    assert read_back(for_markdown(text)) == for_terminal(text)


@given(SIGNS)
def test_nothing_in_it_opens_or_closes_anything(text: str) -> None:
    markdown = for_markdown(text)
    left = re.sub(r"\\.", "0", markdown)
    assert not set("|`*~<") & set(left)
    assert "](" not in left
    assert "][" not in left
    # CommonMark 0.31, section 6.2: an underscore between letters or digits emphasises nothing.
    assert all(re.fullmatch("[A-Za-z0-9]_[A-Za-z0-9]", markdown[at.start() - 1 : at.end() + 1]) for at in BARE.finditer(markdown))
    assert not re.search(r"&(?!amp;|lt;)", left)


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("![x](https://example.org/x.png)", r"![x\](https://example.org/x.png)"),
        ("[a][b]", r"[a\][b]"),
        ("*bold* `code` ~~gone~~", r"\*bold\* \`code\` \~\~gone\~\~"),
        ("_em_ __strong__", r"\_em\_ \_\_strong\_\_"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("a|b<c", r"a\|b&lt;c"),
        # What the project's own names and numbers are made of stays as it is.
        ("relog-minmaxout_4_2-sigmoid_out ▲", "relog-minmaxout_4_2-sigmoid_out ▲"),
        ("≤ 37.6 [34.7–40.6] ▲", "≤ 37.6 [34.7–40.6] ▲"),
    ],
)
def test_signs_of_markdown_are_shown_and_others_are_left_alone(name: str, markdown: str) -> None:
    assert for_markdown(name) == markdown
