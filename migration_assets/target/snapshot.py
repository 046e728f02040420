"""A backup of an Aurora cluster: a snapshot asked for through boto3, and waited for.

boto3 is the optional extra `aws`. It finds credentials as it always does (environment, profile,
the machine's role); none pass through here.
"""

import importlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from migration_assets.errors import SettingsError, TargetError, TargetUnavailableError
from migration_assets.settings import Settings

_WHERE = "backup: snapshot"
_PATIENCE = 4 * 3600.0  # seconds that a snapshot may take to become available
_PAUSE = 15.0  # seconds between two looks; AWS counts the calls
_FAILED = ("failed", "incompatible-restore", "incompatible-parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An Aurora cluster: its identifier, and the host names that lead to it."""

    name: str
    status: str
    hosts: tuple[str, ...]


class Snapshots:
    """Ask AWS for a cluster and its snapshots; every refusal is one of our errors."""

    def __init__(self, settings: Settings) -> None:
        """Raise `SettingsError` where no cluster is named, or boto3 isn't installed."""
        if not settings.aurora_cluster:
            raise SettingsError(
                what="`aurora_cluster` is not set",
                where=_WHERE,
                expected="the identifier of the target's Aurora cluster",
                hint="set `aurora_cluster` in migration.yaml, or `backup: pg_dump`",
            )
        try:
            boto3: Any = importlib.import_module("boto3")
            self._errors: Any = importlib.import_module("botocore.exceptions")
        except ModuleNotFoundError as error:
            raise SettingsError(
                what="boto3 is not installed",
                where=_WHERE,
                expected="the optional extra `aws`",
                hint="pip install 'migration-assets[aws]', or set `backup: pg_dump`",
            ) from error
        self.cluster = settings.aurora_cluster
        try:
            self._client: Any = boto3.client("rds", region_name=settings.aws_region)
        except self._errors.BotoCoreError as error:
            raise self._refused(error) from None

    def look(self) -> Cluster:
        """Return the cluster. Raises `TargetError` where there is none, or we may not ask."""
        answer = self._asked("describe_db_clusters", DBClusterIdentifier=self.cluster)
        found = answer["DBClusters"][0]
        hosts = [found.get("Endpoint"), found.get("ReaderEndpoint")]
        hosts += found.get("CustomEndpoints") or []
        return Cluster(
            name=self.cluster,
            status=str(found.get("Status", "")),
            hosts=tuple(str(host) for host in hosts if host),
        )

    def take(
        self, now: datetime | None = None, *, patience: float = _PATIENCE, pause: float = _PAUSE
    ) -> str:
        """Take a snapshot and wait until it is available; return its identifier.

        Raises `TargetError` where it fails, `TargetUnavailableError` where it isn't available in
        time.
        """
        moment = (now or datetime.now(UTC)).strftime("%Y%m%d%H%M%S")
        name = f"migration-assets-{moment}"
        self._asked(
            "create_db_cluster_snapshot",
            DBClusterSnapshotIdentifier=name,
            DBClusterIdentifier=self.cluster,
        )
        deadline = time.monotonic() + patience
        while True:
            answer = self._asked("describe_db_cluster_snapshots", DBClusterSnapshotIdentifier=name)
            status = str(answer["DBClusterSnapshots"][0].get("Status", ""))
            if status == "available":
                return name
            if status in _FAILED:
                raise TargetError(
                    what=f"snapshot {name} is {status}",
                    where=f"{_WHERE}, cluster {self.cluster}",
                    expected="available; nothing was changed on the target",
                    hint="see the cluster's events in AWS, then run again",
                )
            if time.monotonic() >= deadline:
                raise TargetUnavailableError(
                    what=f"snapshot {name} is still {status} after {patience:g} s",
                    where=f"{_WHERE}, cluster {self.cluster}",
                    expected="available; nothing was changed on the target",
                    hint="run again when it is, or see the cluster's events in AWS",
                )
            time.sleep(pause)

    def _asked(self, operation: str, **parameters: str) -> Any:  # noqa: ANN401 - AWS's document
        try:
            return getattr(self._client, operation)(**parameters)
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Any) -> TargetError:  # noqa: ANN401 - botocore has no types
        """Say what AWS refused by its code; its messages may name accounts and roles."""
        response: dict[str, Any] = getattr(error, "response", {})
        code = response.get("Error", {}).get("Code") or type(error).__name__
        return TargetError(
            what=f"AWS refuses: {code}",
            where=f"{_WHERE}, cluster {self.cluster}",
            expected="rds:DescribeDBClusters, rds:CreateDBClusterSnapshot and"
            " rds:DescribeDBClusterSnapshots for this machine's credentials, and its region",
            hint="see `aurora_cluster` and `aws_region` in migration.yaml, and the machine's role",
        )
