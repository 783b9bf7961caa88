"""Which omnitok a distribution asks for: ranges, extras, markers, other names, and what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from omnitok.plugins.api_range import api_range


@pytest.mark.parametrize(
    ("requirements", "here", "verdict", "asks"),
    [
        ([], "0.1.0", "fits", ""),
        (["torch>=2", "omnitok-pulse>=9", "omnitokens==1"], "0.1.0", "fits", ""),
        (["omnitok"], "0.1.0", "fits", "omnitok"),
        (["omnitok>=0.1,<0.2"], "0.1.0", "fits", "omnitok<0.2,>=0.1"),
        (["omnitok>=0.1,<0.2"], "0.1.7", "fits", "omnitok<0.2,>=0.1"),
        (["omnitok>=0.1,<0.2"], "0.2.0", "too old", "omnitok<0.2,>=0.1"),
        (["omnitok>=0.3"], "0.1.0", "too new", "omnitok>=0.3"),
        (["omnitok>0.1.0"], "0.1.0", "too new", "omnitok>0.1.0"),
        (["omnitok~=0.3.1"], "0.1.0", "too new", "omnitok~=0.3.1"),
        (["omnitok~=0.3.1"], "0.4.0", "too old", "omnitok~=0.3.1"),
        (["omnitok==0.3.*"], "0.1.0", "too new", "omnitok==0.3.*"),
        (["omnitok==0.1.*"], "0.1.9", "fits", "omnitok==0.1.*"),
        (["omnitok===0.1.0"], "0.2.0", "too old", "omnitok===0.1.0"),
        (["omnitok===odd"], "0.2.0", "too old", "omnitok===odd"),
        (["omnitok!=0.1.0"], "0.1.0", "too old", "omnitok!=0.1.0"),
        (["omnitok>=0.3"], "0.3.dev1", "too new", "omnitok>=0.3"),
        (["omnitok>=0.3.dev0"], "0.3.dev1", "fits", "omnitok>=0.3.dev0"),
        (["OmniTok [hub, rl] >= 0.3"], "0.1.0", "too new", "omnitok>=0.3"),
        (["omnitok@ file:///somewhere/omnitok.whl"], "0.1.0", "fits", "omnitok"),
        (["omnitok>=0.3; extra == 'new'"], "0.1.0", "fits", ""),
        (["omnitok>=0.3; python_version < '3'"], "0.1.0", "fits", ""),
        (["omnitok>=0.1; python_version >= '3'", "omnitok<0.1; python_version < '3'"], "0.1.0", "fits", "omnitok>=0.1"),
        (["omnitok>=0.1", "omnitok<0.1"], "0.1.0", "too old", "omnitok>=0.1 and omnitok<0.1"),
        (["omnitok >> 1"], "0.1.0", "unreadable", "omnitok >> 1"),
        (["omnitok>=0.1; colour == 'red'"], "0.1.0", "unreadable", "omnitok>=0.1; colour == 'red'"),
    ],
)
def test_ranges(requirements: list[str], here: str, verdict: str, asks: str) -> None:
    found = api_range(requirements, here)
    assert (found.verdict, found.asks) == (verdict, asks)


numbers = st.tuples(*[st.integers(0, 3)] * 3).map(lambda n: ".".join(map(str, n)))


@given(low=numbers, high=numbers, here=numbers)
def test_too_new_is_above_and_too_old_is_below(low: str, high: str, here: str) -> None:
    verdict = api_range([f"omnitok>={low},<{high}"], here).verdict
    expected = "too new" if Version(here) < Version(low) else "too old" if Version(here) >= Version(high) else "fits"
    assert verdict == expected


@given(st.text(max_size=20))
def test_no_requirement_is_an_error_here(text: str) -> None:
    assert api_range([text, f"omnitok{text}"], "0.1.0").verdict in ("fits", "too old", "too new", "unreadable")
