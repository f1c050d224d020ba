"""Which CRM answers: the embedded one, or the one that the settings name."""

from __future__ import annotations

from handoff.crm.mapping import MappingInvalid, load_mapping
from handoff.crm.port import CrmPort
from handoff.crm.rest import RestCrm
from handoff.crm.sql import SqlCrm
from handoff.database import Database
from handoff.settings import Settings


def connect(settings: Settings, database: Database) -> CrmPort:
    """The CRM of the settings; nothing is asked of it yet.

    Raises:
        MappingInvalid: with what to do.
    """
    if not settings.crm_url:
        return SqlCrm(database)
    mapping = load_mapping(settings.crm_mapping)
    if mapping.wants_token and not settings.crm_token:
        raise MappingInvalid(f"CRM_TOKEN must be set: the mapping {settings.crm_mapping} sends it with every request")
    return RestCrm(settings.crm_url, settings.crm_token, mapping)
