"""What of the target's own hangs on a column that is to leave with the week that brought it.

DROP COLUMN takes indexes, checks and statistics on the column with it without a word; views and
foreign keys of others it refuses itself.
"""

from migration_assets.errors import TargetError
from migration_assets.model import ColumnMapping, TableMapping
from migration_assets.target.connection import Connection
from migration_assets.target.ddl import table_name

# NOT NULL is a constraint of the column's own since PostgreSQL 18; a default is no loss.
_DEPENDANTS = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend AS d
JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s::regclass AND a.attname = %s
  AND d.deptype IN ('a', 'n') AND d.classid <> 'pg_attrdef'::regclass
  AND NOT (d.classid = 'pg_constraint'::regclass
           AND EXISTS (SELECT FROM pg_constraint AS c WHERE c.oid = d.objid AND c.contype = 'n'))
ORDER BY 1
"""


def refuse_dependants(
    connection: Connection, mapping: TableMapping, column: ColumnMapping, where: str
) -> None:
    """Raise `TargetError` where dropping a column would take objects of others with it.

    What the mapping made on it has to be gone by then.
    """
    name = table_name(mapping).as_string(None)
    found = [str(row[0]) for row in connection.execute(_DEPENDANTS, (name, column.target))]
    if found:
        raise TargetError(
            what=f"column {column.target} leaves the target on the way back, and objects of the"
            f" target's own depend on it: {', '.join(found)}",
            where=where,
            expected="nothing of the target's own on a column that came later; nothing was changed",
            hint="drop them, run again, and make them anew when the column is back",
        )
