"""VK's `execute`: several calls of one method in one request, of which only that counts for the rate."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .vk_calls import VkError, objections

if TYPE_CHECKING:
    from .fake_vk import FakeVk

Params = dict[str, str]

#: The only program that is understood: vk-api's VkRequestsPool writes it for calls of one method.
PROGRAM = re.compile(
    r"var values = (\[.*\]),i = 0,result = \[\];while\(i < values\.length\) "
    r"\{result\.push\(API\.([A-Za-z.]+)\(values\[i\]\)\);i = i \+ 1;\}return result;",
    re.DOTALL,
)
MOST_CALLS = 25


def execute(
    vk: FakeVk, params: Params, methods: dict[str, Callable[[FakeVk, Params], Any]]
) -> tuple[list[Any], list[dict[str, Any]]]:
    """What each call answered, False if it failed; and the errors of those that failed, in order."""
    program = PROGRAM.fullmatch(params["code"])
    if program is None:
        raise VkError(12, params["code"][:80])
    method, answers, errors = program[2], [], []
    for place, values in enumerate(json.loads(program[1])):
        if place == MOST_CALLS:
            raise VkError(13, "too many API calls")
        inner = {name: str(value) for name, value in values.items()}
        call = vk.note_call(method, inner, time.monotonic())
        try:
            found = list(objections(method, inner | {"v": params["v"]}))
            vk.violations += [f"{method}: {objection}" for objection in found]
            if found:
                raise found[0]
            if fault := vk.fault_within(method, inner):
                raise VkError(fault.code, "a fault of the test")
            answers.append(methods[method](vk, inner))
            call.outcome = "ok"
        except VkError as error:
            answers.append(False)
            errors.append({"method": method, "error_code": error.code, "error_msg": str(error)})
            call.outcome = f"error {error.code}"
    return answers, errors
