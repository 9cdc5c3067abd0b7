"""Former names of settings, commands, and options, each with its current name for the error message."""

RENAMED_SETTINGS = {
    "look": "[branding]",
    "wordings": "[consent]",
    "consent.consent": "text",
    "schedule.release": "send",
    "schedule.last_look_minutes": "final_check_minutes",
    "limits.signups_alarm": "signups_alert",
}  # by the key as errors show it
RENAMED_COMMANDS = {
    "digest hold": "digest pause --all",
    "digest release": "digest resume --all",
    "digest approve --void": "digest approve --revoke",
    "digest editions import --released": "digest editions import --sent",
    "digest serve --no-timetable": "digest serve --no-schedule",
    "digest setup --readers": "digest setup --subscribers",
    "digest staff prove": "digest staff verify",
    "digest subscribers withdraw": "digest subscribers unsubscribe",
    "digest subscribers wordings": "digest subscribers consent-texts",
    "digest subscribers add --wording": "digest subscribers add --consent-text",
    "digest subscribers add --wording-version": "digest subscribers add --consent-text-version",
}
# Earlier names of settings tables, as they appear in audit entries.
EARLIER_TABLES = {"branding": ("look",), "consent": ("wordings",)}
