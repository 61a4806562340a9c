"""The comment: what is encoded is decoded again, and no text does harm."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.sessions.comment import Claim, decode, encode, is_id

WORD = st.text(string.ascii_letters + string.digits + "._:+@/-", max_size=64).filter(
    lambda text: text != "-"
)
ID = st.text("0123456789abcdef", min_size=8, max_size=8)
DIGEST = st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64))
CLAIM = st.builds(
    Claim, id=ID, app=WORD.filter(bool), image=WORD, state=WORD, step=WORD, digest=DIGEST
)


@given(CLAIM)
def test_what_is_encoded_comes_back(claim: Claim) -> None:
    assert decode(encode(claim)) == claim


@given(ID, st.text(min_size=1), st.text(), st.text())
def test_any_value_fits_slurms_field_on_one_line(id: str, app: str, image: str, step: str) -> None:
    text = encode(Claim(id, app, image, "ready", step))
    assert len(text.encode()) < 1024
    assert text.isascii()
    assert text.isprintable()
    found = decode(text)
    assert found is None or found.id == id  # an app of "-" alone has no name


@given(st.text())
def test_any_text_is_a_claim_or_none(text: str) -> None:
    assert decode(text) is None or decode(text) == decode(text)
    decode(f"vizdash/1 id=0123abcd app=x {text}")
    decode(f"vizdash/1 {text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "my job",
        "vizdash/1",
        "vizdash/1 ",
        "vizdash/2 id=3f9a01bc app=desktop",
        "vizdash/1 id=3F9A01BC app=desktop",
        "vizdash/1 id=../../et app=desktop",
        "vizdash/1 id=3f9a01bc app=-",
        "vizdash/1 id=3f9a01bc",
        "vizdash/1 id=3f9a01bc app=desktop\nstate=ready",
        "vizdash/1 id=3f9a01bc app=desk\x1btop",
        "vizdash/1 id=3f9a01bc  app=desktop",
        "vizdash/1 id=3f9a01bc app=$(id)",
        f"vizdash/1 id=3f9a01bc app={'x' * 65}",
        " vizdash/1 id=3f9a01bc app=desktop",
    ],
)
def test_comments_that_are_not_vizdashs(text: str) -> None:
    assert decode(text) is None


def test_a_newer_vizdash_may_add_keys() -> None:
    claim = decode("vizdash/1 id=3f9a01bc app=desktop colour=blue state=ready")
    assert claim is not None
    assert (claim.app, claim.state) == ("desktop", "ready")


def test_ids() -> None:
    assert is_id("0123abcd")
    for bad in ("0123abc", "0123abcde", "0123ABCD", "0123abcd\n", "٠١٢٣abcd", ".."):
        assert not is_id(bad)


@pytest.mark.parametrize("digest", ["abc", "X" * 64, "0" * 63 + "g"])
def test_what_is_no_digest_is_left_out(digest: str) -> None:
    found = decode(f"vizdash/1 id=3f9a01bc app=desktop digest={digest}")
    assert found is not None and found.digest == ""
