"""The text of a new `migration.yaml`: every setting with its meaning, those that are known set."""

import textwrap
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from migration_assets.settings import Settings

_WIDTH = 98
MEANINGS: Mapping[str, str] = {
    "source": "Path of the SQLite database; a relative one starts at the folder of this file.",
    "target": "URL of the PostgreSQL target, without its password: that comes from PGPASSWORD or a"
    " passfile; or env:NAME, a variable that holds the whole URL; or embedded, a PostgreSQL in the"
    " state folder, to try things out.",
    "source_name": "Name of the source in the ledger and in asset keys; only main for now.",
    "target_schema": "Schema of the target's tables.",
    "first_week": "First day of the first week. Unset, it is the last complete week on the day of"
    " the first look, and is remembered.",
    "weeks": "Number of weeks.",
    "timezone": "Where weeks start at midnight and the schedule ticks.",
    "cron": "When the week that has just ended is carried: minute hour day month weekday.",
    "include": "Shell patterns of the tables that are carried.",
    "exclude": "Shell patterns of the tables that are left out.",
    "state": "Folder of cuts, deltas and reports. It is needed to go on: back it up.",
    "quarantine_rows": "A table stops when more rows than this don't fit their types …",
    "quarantine_share": "… or more than this share of its rows, whichever is larger.",
    "show_keys": "Name differing rows by key in checks, errors, the ledger and on the terminal.",
    "on_mismatch": "What a run or check does about rows that somebody else changed on the target:"
    " keep (stop, and say so), repair, or rollback.",
    "write_guard": "A trigger on the target's tables that notes (log) or forbids (refuse) writes"
    " other than ours; off for none.",
    "guard_rows": "Tables with fewer rows than this are not guarded against mass changes.",
    "deleted_share": "A table stops when one step would delete more than this share of its rows …",
    "changed_share": "… or change or delete more than this share.",
    "keep_weeks": "Weeks whose cuts and deltas are kept, so that their moves can be rolled back.",
    "connect_patience": "Seconds of tries to connect to the target.",
    "lock_timeout": "Seconds to wait for a lock on the target.",
    "statement_timeout": "Seconds that one statement on the target may take; 0 for no limit.",
    "retry_patience": "Seconds in which a step that the target broke off is done again.",
    "source_timeout": "Seconds to wait for a locked source.",
    "owners": "Owners of the assets in Dagster: e-mail addresses, or team:NAME.",
    "parallel": "Tables that are carried at the same time.",
    "catch_up_attempts": "How often the catch-up sensor asks for a failed week or table again.",
    "catch_up_backoff": "Minutes that it waits after a run that failed; doubled with each of its"
    " attempts.",
    "dagster_storage": "Where Dagster keeps runs and events: postgres (the one that DAGSTER_PG_HOST"
    " names, else an embedded one), or sqlite, files in the state folder.",
    "backup": "How the target is backed up before the cutover: pg_dump into the state folder,"
    " snapshot of the Aurora cluster, or none.",
    "aurora_cluster": "The Aurora cluster's identifier, for snapshot.",
    "aws_region": "Its region; unset, the one that the AWS settings of this machine name.",
    "tables": "What the team says of tables and columns: target, key, policy, transform, columns;"
    " of a column type, encoding, policy, cast, renamed_from. `migration-assets plan --write` adds"
    " what is proposed, to be reviewed and pinned.",
}
_SUCH_AS = """\
# Such as:
#   tables:
#     orders:
#       key: [id]
#       policy: quarantine
#       columns:
#         price: {type: "numeric(12,2)"}
"""
_HOW_TO_EXCLUDE = "# Take the # from the next line, and from those of tables not to be carried:\n"
# What a commented line shows where the setting has no default.
_SHOWN: Mapping[str, Any] = {
    "first_week": date(2026, 10, 4),
    "aurora_cluster": "app-cluster",
    "aws_region": "eu-central-1",
    "tables": {},
}


def render(found: Mapping[str, Any], suggestions: Iterable[tuple[str, str]] = ()) -> str:
    """Return the file's text; `found` are the settings that are set.

    `suggestions` are patterns for `exclude` with the reason for each: they stay comments, since a
    table is left out by a person or not at all.
    """
    suggested = "".join(f"#   - {_quoted(name)}  # {reason}\n" for name, reason in suggestions)
    blocks = ["# Settings of migration-assets. Commented lines show the defaults.\n"]
    for name, field in Settings.model_fields.items():
        block = _comment(MEANINGS[name])
        if name in found:
            block += _line(name, found[name])
        elif name == "exclude" and suggested:
            block += f"{_HOW_TO_EXCLUDE}# exclude:\n{suggested}"
        else:
            default = _SHOWN.get(name, field.default)
            block += f"{_SUCH_AS if name == 'tables' else ''}# {_line(name, default)}"
        blocks.append(block)
    return "\n".join(blocks)


def _comment(text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return text as a YAML string on one line, whatever it holds."""
    return yaml.safe_dump(text, default_style='"', width=1 << 30).strip()


def _line(name: str, value: object) -> str:
    plain: object = str(value) if isinstance(value, Path) else value
    plain = list(plain) if isinstance(plain, tuple) else plain  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of strings
    text = yaml.safe_dump(plain, default_flow_style=True, width=1 << 30, allow_unicode=True)
    flat = text.removesuffix("...\n").strip()  # a bare scalar comes with the document's end
    return f"{name}: {flat}\n"
