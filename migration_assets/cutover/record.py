"""What a cutover that was interrupted has to remember: its backup, and a certificate to publish.

What was made on the target isn't remembered here: it carries its own marks there.
"""

import json
from dataclasses import asdict

from migration_assets.errors import StateError
from migration_assets.report.certificate import Backup
from migration_assets.state import State

DRAFTS = "cutover"
DRAFT = "certificate"
_BACKUP = f"{DRAFTS}/backup.json"


def remember_backup(state: State, found: Backup) -> None:
    """Remember the backup that was taken before anything was made."""
    state.write_text(_BACKUP, json.dumps(asdict(found)))


def remembered_backup(state: State) -> Backup | None:
    """Return the backup of an earlier attempt; None where there was none."""
    text = state.read_text(_BACKUP)
    if text is None:
        return None
    try:
        return Backup(**json.loads(text))
    except (ValueError, TypeError):
        return None  # a damaged note is worth another backup


def publish_draft(state: State) -> str:
    """Publish the certificate that was written before tables were put on hold; return its key."""
    document, text = (state.read_text(f"{DRAFTS}/{DRAFT}.{e}") for e in ("json", "md"))
    if document is None or text is None:
        raise StateError(
            what="the tables are cut over, and their certificate is gone",
            where=f"state {DRAFTS}/{DRAFT}.json",
            expected="the certificate that was written before they were put on hold",
            hint="restore the state folder from its backup; the target itself is complete",
        )
    key = f"reports/cutover-{json.loads(document)['cut']}"
    state.write_text(f"{key}.json", document)
    state.write_text(f"{key}.md", text)
    return key
