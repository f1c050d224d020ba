"""Reads the domain in a model once: 2 s less for each start.

Read against Rasa 3.6.21, `rasa.graph_components.providers.domain_provider.DomainProvider.load`: it takes any folder of
domain files, so it parses the one file of a model four times, once each to see whether it is a domain, to check it
against a schema, to validate and to merge it. The file was written by a training, which had checked it.
"""

from __future__ import annotations

from typing import Any

from rasa.engine.graph import ExecutionContext
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.graph_components.providers.domain_provider import DomainProvider
from rasa.shared.core.domain import Domain
from rasa.shared.utils.io import read_yaml_file


def read_domain_once() -> None:
    """Put our way of loading into Rasa's place."""
    DomainProvider.load = classmethod(_load)


def _load(
    cls: type[DomainProvider], /, config: dict[str, Any], model_storage: ModelStorage, resource: Resource,
    execution_context: ExecutionContext, **kwargs: Any,
) -> DomainProvider:  # fmt: skip
    """See `GraphComponent.load`."""
    with model_storage.read_from(resource) as folder:
        domain = Domain.from_dict(read_yaml_file(folder / "domain.yml"))
    return cls(model_storage, resource, domain)
