"""Which of a CRM's addresses can be registered ones."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email


def can_be_mailed(address: str) -> bool:
    """Whether letters can go there; our mail server need not speak SMTPUTF8, so only what every server takes."""
    try:
        validate_email(address, check_deliverability=False, allow_smtputf8=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True
