"""The document of the API names every field that answers about checks have, and no other."""

import inspect

import msgspec
import pytest
from rest_framework.serializers import Serializer

from enforcement.cus_checks import answers, serializers

_DESCRIBED = {
    f"{name.removesuffix('Result')}Answer": shape
    for name, shape in vars(serializers).items()
    if inspect.isclass(shape) and issubclass(shape, Serializer)
}
_ANSWERS = [
    answer
    for name, answer in vars(answers).items()
    if inspect.isclass(answer) and issubclass(answer, msgspec.Struct) and name.endswith("Answer")
]


def test_answers_are_found() -> None:
    assert answers.OwnPriceAnswer in _ANSWERS
    assert answers.CheckAnswer in _ANSWERS


@pytest.mark.parametrize("answer", _ANSWERS, ids=lambda answer: answer.__name__)
def test_an_answers_fields_are_those_of_the_document(answer: type[msgspec.Struct]) -> None:
    described = _DESCRIBED[answer.__name__]()
    assert set(described.fields) == {field.encode_name for field in msgspec.structs.fields(answer)}
