"""The sign-up limits in the settings."""

from digest.settings import Settings
from subscribers.signup.rate_limits import NetworkQuota, SignupLimits


def build_signup_limits(settings: Settings) -> SignupLimits:
    """Return the limits for sign-up forms, as set in the settings."""
    limits = settings.file.limits
    return SignupLimits(
        quota=NetworkQuota(limits.signups_per_network, limits.signups_first, limits.signups_further),
        per_domain_week=limits.signups_per_domain,
        per_address_month=limits.signup_mails_per_address,
        surge_per_hour=limits.signups_alert,
        max_pending=limits.signups_waiting,
    )
