"""The model of the one policy: what policy.yaml may say, and nothing more.

A service identity is the common name of its certificate. The model refuses what it does not know, so that a slip of the
pen is an error and never a right that is silently missing or granted.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from access.policy_text import NotYaml, read_yaml

KafkaOperation = Literal["READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]
PostgresRight = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE"]
CatalogKind = Literal["schemas", "volumes", "registered_models"]
WorkspaceKind = Literal["jobs", "dashboards", "experiments", "cluster_policies"]
CatalogPrivilege = Literal[
    "USE_SCHEMA", "SELECT", "CREATE_MODEL", "EXECUTE", "READ_VOLUME", "WRITE_VOLUME", "ALL_PRIVILEGES"
]
PermissionLevel = Literal["CAN_VIEW", "CAN_READ", "CAN_USE", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE"]
COLUMN_RIGHTS = frozenset({"SELECT", "INSERT", "UPDATE"})
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Function = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}\([a-z0-9_ ,\[\]]*\)$")]
Path = Annotated[
    str,
    StringConstraints(
        pattern=r"^/(?:(?:\.?[A-Za-z0-9][A-Za-z0-9._-]*|\{[a-z]+\})(?:/(?:\.?[A-Za-z0-9][A-Za-z0-9._-]*|\{[a-z]+\}))*(?:/\*)?)?$"
    ),
]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Methods that may be sent twice, by their definition (RFC 9110, 9.2.2)."""
Mutation = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z]{0,80}$")]
LakeVerb = Literal["READ", "WRITE", "REMOVE"]
KeyVerb = Literal["OPEN", "SEAL", "DESTROY"]
TableName = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z_]+/(\*|[a-z_]+))$")]
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,6}(ms|s|min)$")]


class PolicyError(Exception):
    """The policy says something that cannot be; the message says where and what would be valid."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaRight(_Model):
    """Operations on one topic, on consumer groups whose name begins with a prefix, on every group, or on the cluster.

    DESCRIBE of the cluster lets one read its access rules and its list of groups.
    """

    topic: str | None = None
    group_prefix: str | None = None
    every_group: Literal[True] | None = None
    cluster: Literal[True] | None = None
    allow: tuple[KafkaOperation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_resource(self) -> KafkaRight:
        named = [one for one in (self.topic, self.group_prefix, self.every_group, self.cluster) if one is not None]
        if len(named) != 1:
            raise ValueError("names exactly one of: topic, group_prefix, every_group, cluster")
        if "" in named:
            raise ValueError("an empty name would mean every one; of groups, `every_group: true` says so")
        return self


class DatabaseRight(_Model):
    """Rights on one table, on some of its columns, or on one function of the platform's database.

    A function is written with the types of its arguments as PostgreSQL spells them: `items_as_of(timestamp with time
    zone)`.
    """

    schema_name: Name = Field(alias="schema")
    table: Name | None = None
    columns: tuple[Name, ...] = ()
    function: Function | None = None
    allow: tuple[PostgresRight, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_object(self) -> DatabaseRight:
        if (self.table is None) == (self.function is None):
            raise ValueError("names exactly one of: table, function")
        if self.function is not None and (self.columns or set(self.allow) != {"EXECUTE"}):
            raise ValueError("a function has no columns, and the only right on it is EXECUTE")
        if self.table is not None and "EXECUTE" in self.allow:
            raise ValueError("EXECUTE is a right on a function")
        if self.columns and not COLUMN_RIGHTS.issuperset(self.allow):
            raise ValueError(f"rights on columns are: {', '.join(sorted(COLUMN_RIGHTS))}")
        return self


class DatabricksRight(_Model):
    """Rights on a resource of the bundle in deploy/databricks: privileges of Unity Catalog, or a permission level."""

    kind: Literal[CatalogKind, WorkspaceKind]
    name: Name
    allow: tuple[CatalogPrivilege | PermissionLevel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _of_its_kind(self) -> DatabricksRight:
        if self.kind in get_args(CatalogKind):
            valid = get_args(CatalogPrivilege)
        else:
            valid = get_args(PermissionLevel)
            if len(self.allow) != 1:
                raise ValueError(f"{self.kind} have one permission level")
        wrong = sorted(set(self.allow) - set(valid))
        if wrong:
            raise ValueError(f"{', '.join(wrong)} is none of {self.kind}; valid ones: {', '.join(valid)}")
        return self


class LakeRight(_Model):
    """Rights on the files of one table of the lake, or with `/*` of all tables of a folder, or with `*` of all.

    READ opens them, WRITE adds files and commits, REMOVE takes away those that no version needs.
    """

    tables: TableName
    allow: tuple[LakeVerb, ...] = Field(min_length=1)


class SessionSettings(_Model):
    """What every session of a role begins with. A session may change its time-outs: they stop accidents, not intent."""

    search_path: tuple[Name, ...] = Field(min_length=1)
    statement_timeout: Duration
    lock_timeout: Duration
    idle_in_transaction_session_timeout: Duration


class Identity(_Model):
    """One service or person's tool, by certificate; on a cloud by the role of that name.

    `keys` are of the days' data keys: OPEN uses one, SEAL makes one where a day has none yet, DESTROY makes all that it
    sealed unreadable.
    """

    note: str
    kafka_super_user: bool = False
    kafka: tuple[KafkaRight, ...] = ()
    postgres: tuple[DatabaseRight, ...] = ()
    lake: tuple[LakeRight, ...] = ()
    keys: tuple[KeyVerb, ...] = ()
    session: SessionSettings | None = None


class Group(_Model):
    """People who may do the same, by the name of their group in the directory.

    A group with rights in the database is a role there. Nobody logs in as it; people are logins that inherit its rights
    and settings.
    """

    note: str
    kafka: tuple[KafkaRight, ...] = ()
    postgres: tuple[DatabaseRight, ...] = ()
    databricks: tuple[DatabricksRight, ...] = ()
    session: SessionSettings | None = None

    @model_validator(mode="after")
    def _sessions_of_a_role(self) -> Group:
        if bool(self.postgres) != (self.session is not None):
            raise ValueError("a group has rights in postgres and a session, or neither")
        return self


class Route(_Model):
    """Some methods on a path of the gateway: which service answers, and to whom.

    In a path `{name}` stands for one segment, and `/*` at the end for all below; the first route that fits is taken.
    `rate` is in requests a second of one user, or of one address where everyone may; ten times as many may come at
    once.
    """

    path: Path
    service: Name
    methods: tuple[Method, ...] = Field(min_length=1)
    groups: tuple[Name, ...] = ()
    everyone: Literal[True] | None = None
    rate: int = Field(ge=1, le=100_000)
    body: Literal["none", "form", "image"] = "none"
    websocket: bool = False
    browser: bool = False
    repeatable: bool = False

    @model_validator(mode="after")
    def _for_somebody(self) -> Route:
        if bool(self.groups) == (self.everyone is not None):
            raise ValueError("is for some groups, or for everyone (`everyone: true`)")
        if self.websocket and "GET" not in self.methods:
            raise ValueError("a WebSocket begins with GET")
        if self.browser and self.everyone:
            raise ValueError("where everyone may, nobody's session is looked up: leave `browser` out")
        return self


class DagsterRoles(_Model):
    """Who is what in Dagster's UI, and which GraphQL mutations a role may call; each has those of the role before it.

    A mutation of no list is nobody's, and so is one of `nobody`, which says that somebody thought about it.
    """

    viewers: tuple[Name, ...] = ()
    launchers: tuple[Name, ...] = ()
    administrators: tuple[Name, ...] = ()
    view: tuple[Mutation, ...] = ()
    launch: tuple[Mutation, ...] = ()
    administer: tuple[Mutation, ...] = ()
    nobody: tuple[Mutation, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> DagsterRoles:
        named = [*self.view, *self.launch, *self.administer, *self.nobody]
        twice = sorted({one for one in named if named.count(one) > 1})
        if twice:
            raise ValueError(f"mutations in two lists: {', '.join(twice)}")
        return self


class Policy(_Model):
    """The whole policy."""

    identities: dict[Name, Identity]
    groups: dict[Name, Group] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    dagster: DagsterRoles = Field(default_factory=DagsterRoles)

    @model_validator(mode="after")
    def _names_mean_one(self) -> Policy:
        both = sorted(set(self.identities) & set(self.groups))
        if both:
            raise ValueError(f"names both an identity and a group: {', '.join(both)}")
        of_routes = {group for route in self.routes for group in route.groups}
        roles = {*self.dagster.viewers, *self.dagster.launchers, *self.dagster.administrators}
        unknown = sorted((of_routes | roles) - set(self.groups))
        if unknown:
            raise ValueError(f"routes or roles for groups that are not there: {', '.join(unknown)}")
        return self

    @property
    def digest(self) -> str:
        """What differs as soon as the policy says something else: 16 hexadecimal digits."""
        return sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()[:16]

    @property
    def database_groups(self) -> dict[str, Group]:
        """The groups that are roles of the database, by name."""
        return {name: group for name, group in self.groups.items() if group.postgres}


def parse_policy(text: str) -> Policy:
    """The policy that a YAML text says.

    Raises:
        PolicyError: not YAML, or not a policy; every fault with its place.
    """
    try:
        document = read_yaml(text)
    except NotYaml as error:
        raise PolicyError(f"The policy is no YAML: {error}") from None
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise PolicyError("The policy is refused:\n" + "\n".join(faults)) from None


def load_policy() -> Policy:
    """The policy that this distribution carries."""
    return parse_policy(resources.files("access").joinpath("policy.yaml").read_text(encoding="utf-8"))
