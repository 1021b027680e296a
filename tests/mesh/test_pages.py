"""Page tokens lead back to where they were made, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.pages import PageTokenInvalid, page_token, read_page_token


@given(st.text(max_size=20), st.text("0123456789abcdef-", min_size=1, max_size=36))
def test_page_tokens_lead_back(scope: str, after: str) -> None:
    assert read_page_token(scope, page_token(scope, after)) == after
    with pytest.raises(PageTokenInvalid):
        read_page_token(scope + "x", page_token(scope, after))


@given(st.text(min_size=1, max_size=60))
def test_other_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        read_page_token("scope", token)


def test_a_list_begins_and_ends_without_one() -> None:
    assert (page_token("scope", ""), read_page_token("scope", "")) == ("", "")
