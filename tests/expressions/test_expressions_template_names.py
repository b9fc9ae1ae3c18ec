"""Names inside templates that jinja2 knows nothing of are mistakes of the pipeline, with their place."""

from __future__ import annotations

import pytest

from penstock.errors import ExpressionError
from penstock.expressions import template_columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ title | upperr }}", "the template uses an unknown filter 'upperr'"),
        ("{% if title is shorrt %}x{% endif %}", "the template uses an unknown test 'shorrt'"),
    ],
)
def test_an_unknown_filter_or_test_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        template_columns(text)
    assert caught.value.message == message
    assert text[caught.value.offset :][: caught.value.width] in message
