"""Reads a mapping file: how a CRM's REST API is asked, and where in its answers each fact lies.

docs/operators.md explains every key; handoff/crm/mappings holds the mappings that we ship.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handoff.errors import HandoffError

SHIPPED = Path(__file__).parent / "mappings"

PLACEHOLDER = re.compile(r"{(\w+)}")

#: Places of a fact in a row of the answer, "customer.id"; several are joined by a blank.
Places = Annotated[list[str], BeforeValidator(lambda said: [said] if isinstance(said, str) else said)]


class MappingInvalid(HandoffError):
    """A mapping cannot be used; the message names file, key and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class LookUp(_Part):
    """One GET request and where its answer holds the rows; `not_found` says that 404 means there are none."""

    path: str
    query: dict[str, str | list[str]] = {}
    rows: str = ""
    not_found: bool = False

    def placeholders(self) -> set[str]:
        """The names in braces."""
        return set(_placeholders([self.path, *self.query.values()]))


class OrderFacts(_Part):
    """Where a row holds what is known about an order."""

    number: Places = Field(min_length=1)
    customer_id: Places = Field(min_length=1)
    status: Places = []
    item: Places = []
    sum: Places = []
    address: Places = []
    promised_on: Places = []
    placed_on: Places = []


class CustomerFacts(_Part):
    """Where a row holds what is known about a customer."""

    customer_id: Places = Field(min_length=1)
    addresses: Places = Field(min_length=1)
    name: Places = []
    language: Places = []


class OrderLookUp(LookUp):
    """Asks for an order by its number.

    `spellings` maps patterns of normalised numbers to how the CRM writes them, `statuses` the CRM's words to ours.
    """

    facts: OrderFacts
    spellings: dict[str, str] = {}
    statuses: dict[str, str] = {}

    @field_validator("spellings")
    @classmethod
    def _patterns(cls, spellings: dict[str, str]) -> dict[str, str]:
        for pattern, written in spellings.items():
            try:
                re.sub(pattern, written, "")
            except re.error as error:
                raise ValueError(f"{pattern!r} to {written!r}: {error}") from None
        return spellings

    def spelled(self, number: str) -> str:
        """A normalised number as the CRM writes it."""
        for pattern, written in self.spellings.items():
            if found := re.fullmatch(pattern, number):
                return found.expand(written)
        return number


class CustomerLookUp(LookUp):
    """Asks for a customer by his id."""

    facts: CustomerFacts


class Mapping(_Part):
    """A whole mapping file. `nobody` is an id and order number that nothing has."""

    headers: dict[str, str] = {}
    nobody: str = "0"
    order: OrderLookUp
    customer: CustomerLookUp
    orders_of: LookUp

    @model_validator(mode="after")
    def _placeholders_fit(self) -> Mapping:
        """A request without its key would ask for everything, one with a slip in it for nothing."""
        for name, look_up, key in (
            ("order", self.order, "number"),
            ("customer", self.customer, "customer_id"),
            ("orders_of", self.orders_of, "customer_id"),
        ):
            named = look_up.placeholders()
            if key not in named:
                raise ValueError(f"{name}: write {{{key}}} into path or query")
            if unknown := named - {key, "token"}:
                raise ValueError(f"{name}: {{{min(unknown)}}} is not known here; known are {{{key}}} and {{token}}")
        if unknown := set(_placeholders(self.headers.values())) - {"token"}:
            raise ValueError(f"headers: {{{min(unknown)}}} is not known here; known is {{token}}")
        return self

    @property
    def wants_token(self) -> bool:
        """Whether CRM_TOKEN goes into any request."""
        named = [*_placeholders(self.headers.values())]
        return "token" in {
            *named,
            *(p for one in (self.order, self.customer, self.orders_of) for p in one.placeholders()),
        }


def load_mapping(name: str) -> Mapping:
    """Read a mapping that we ship by its name, or any by its path.

    Raises:
        MappingInvalid: with file, key and what to do.
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yml"))
    path = SHIPPED / f"{name}.yml" if name in shipped else Path(name)
    content = _content(path, shipped)
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'mapping'}: {e['msg']}" for e in error.errors())
        raise MappingInvalid(f"{path}: {said}") from None


def _content(path: Path, shipped: list[str]) -> dict[str, Any]:
    """The file's content on top of what it extends."""
    try:
        content = YAML(typ="safe").load(path)
    except OSError as error:
        raise MappingInvalid(
            f"CRM_MAPPING: {path} cannot be read ({error.strerror}); name one of {', '.join(shipped)}, or a file"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise MappingInvalid(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise MappingInvalid(f"{path}: expected `order:`, `customer:` and `orders_of:` at the top level")
    base = content.pop("extends", None)
    if base is None:
        return content
    if base not in shipped:
        raise MappingInvalid(f"{path}: extends: there is no mapping {base!r}; name one of {', '.join(shipped)}")
    return _merged(_content(SHIPPED / f"{base}.yml", shipped), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """What `changes` says counts, key by key; null takes a key away."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return {key: value for key, value in merged.items() if value is not None}


def _placeholders(texts: Any) -> Iterator[str]:
    for text in texts:
        yield from PLACEHOLDER.findall(text) if isinstance(text, str) else _placeholders(text)
