"""The desk that the settings describe: the same for the service and for what an operator decides."""

from __future__ import annotations

from bot.engine_process import ROOT
from bot.notices import ConversationNotices, NoticeTexts
from handoff.desk import Desk
from handoff.mail.modes import mode_named
from handoff.settings import Settings
from handoff.shop import Shop


def notices_of(shop: Shop) -> ConversationNotices:
    """Notices in the words of data/notices.yml.

    Raises:
        NoticeFileInvalid: with what to do.
    """
    return ConversationNotices(NoticeTexts(ROOT / "data" / "notices.yml"), shop)


def desk_of(settings: Settings, shop: Shop, notices: ConversationNotices) -> Desk:
    """The shop's desk; whatever a setting changes about it is said here."""
    return Desk(
        shop=shop,
        support_address=settings.support_address,
        agents_address=settings.agents_address,
        base_url=settings.base_url,
        data_dir=settings.data_dir,
        signing_key=settings.signing_key(),
        auth_results_id=settings.auth_results_id,
        notices=notices,
        mode=mode_named(settings.handoff_mode),
        escalation_address=settings.escalation_address,
    )
