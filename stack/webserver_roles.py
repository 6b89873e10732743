"""Roles in Dagster's web server, which has none: who asks is in the signed token, and what they may is in the policy.

Mechanism: around the application, every request and WebSocket needs a token of the issuer; its groups give a role. In
the GraphQL schema each mutation's resolver asks for that role first, however the document is written. And the
permissions that the UI asks for are the role's, so that it shows at once what somebody may not, and why.

It leans on names of dagster-webserver and of Dagster's workspace that are not promised; an upgrade that moves one fails
tests/stack/test_webserver_roles.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.permissions import (
    LOCATION_SCOPED_PERMISSIONS,
    PermissionResult,
    Permissions,
)
from dagster_graphql.schema import create_schema
from dagster_webserver.webserver import DagsterWebserver
from graphql import GraphQLError
from starlette.responses import JSONResponse

from access.dagster_roles import Role, least_role, may, role_of
from access.policy import DagsterRoles
from access.principal import Principal
from services.door.problems import Kind, Problem
from stack.pages import Admit

if TYPE_CHECKING:
    from graphene import Schema
    from starlette.requests import Request
    from starlette.types import Scope

ROLE = "darkroom.role"
WHO = {Role.VIEWER: "viewers", Role.LAUNCHER: "launchers", Role.ADMINISTRATOR: "administrators"}

MUTATION_OF: Mapping[Permissions, str] = {
    Permissions.LAUNCH_PIPELINE_EXECUTION: "launchRun",
    Permissions.LAUNCH_PIPELINE_REEXECUTION: "launchRunReexecution",
    Permissions.START_SCHEDULE: "startSchedule",
    Permissions.STOP_RUNNING_SCHEDULE: "stopRunningSchedule",
    Permissions.SCHEDULE_DRY_RUN: "scheduleDryRun",
    Permissions.EDIT_SENSOR: "startSensor",
    Permissions.SENSOR_DRY_RUN: "sensorDryRun",
    Permissions.UPDATE_SENSOR_CURSOR: "setSensorCursor",
    Permissions.TERMINATE_PIPELINE_EXECUTION: "terminateRun",
    Permissions.DELETE_PIPELINE_RUN: "deleteRun",
    Permissions.RELOAD_REPOSITORY_LOCATION: "reloadRepositoryLocation",
    Permissions.RELOAD_WORKSPACE: "reloadWorkspace",
    Permissions.WIPE_ASSETS: "wipeAssets",
    Permissions.REPORT_RUNLESS_ASSET_EVENTS: "reportRunlessAssetEvents",
    Permissions.LAUNCH_PARTITION_BACKFILL: "launchPartitionBackfill",
    Permissions.CANCEL_PARTITION_BACKFILL: "cancelPartitionBackfill",
    Permissions.EDIT_DYNAMIC_PARTITIONS: "addDynamicPartition",
    Permissions.TOGGLE_AUTO_MATERIALIZE: "setAutoMaterializePaused",
    Permissions.EDIT_CONCURRENCY_LIMIT: "setConcurrencyLimit",
    Permissions.EDIT_APP_MANAGED_COMPONENTS: "setAppManagedComponent",
    Permissions.REFRESH_COMPONENT_STATE: "refreshComponentState",
}
"""The mutation that each of the UI's permissions is about: who may call it has the permission."""


class Denied(GraphQLError):
    """By the policy."""


def admitting(roles: DagsterRoles, prefix: str) -> Admit:
    """Who gets in: who has a role. What is neither GraphQL nor reading (its REST endpoints) is for administrators."""

    def admit(principal: Principal, scope: Scope) -> Mapping[str, Any]:
        role = role_of(roles, principal.groups)
        if role is Role.NOBODY:
            raise Problem(Kind.FORBIDDEN, "None of your groups has a role in Dagster's pages.")
        reading = scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD")
        if not reading and scope["path"] != f"{prefix}/graphql" and role is not Role.ADMINISTRATOR:
            raise Problem(Kind.FORBIDDEN, "This is for administrators.")
        return {ROLE: role}

    return admit


class RoleRequest(WorkspaceRequestContext):
    """One request, which knows its asker's role."""

    roles: DagsterRoles
    """Set by `RoleProcess` right after it is made."""

    @property
    def role(self) -> Role:
        """The asker's, at most a viewer's where the server is read-only; nobody's where nobody was admitted."""
        role = getattr(self.source, "scope", {}).get(ROLE, Role.NOBODY)
        return min(role, Role.VIEWER) if self.read_only else role

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        """What the UI asks for."""
        return {permission: _permission(self.roles, self.role, permission) for permission in Permissions}

    def permissions_for_location(self, *, location_name: str) -> Mapping[str, PermissionResult]:
        """The same in every code location."""
        every = self.permissions
        return {permission: every[permission] for permission in LOCATION_SCOPED_PERMISSIONS}

    def has_permission_for_location(self, permission: str, location_name: str) -> bool:
        """Whether the asker has one."""
        self._checked_permissions.add(permission)
        return self.permissions[permission].enabled


class RoleProcess(WorkspaceProcessContext):
    """Makes requests that know their asker's role."""

    def __init__(self, *arguments: Any, roles: DagsterRoles, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._roles = roles

    def create_request_context(self, source: object | None = None) -> RoleRequest:
        """See `WorkspaceProcessContext.create_request_context`."""
        found = RoleRequest(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=self._read_only,
        )
        found.roles = self._roles
        return found


class RoleWebserver(DagsterWebserver):
    """Dagster's web server whose mutations ask for a role; it tells which policy it holds, at /server_info."""

    def __init__(self, *arguments: Any, policy: str, **named: Any) -> None:
        """Args: policy: its digest."""
        super().__init__(*arguments, **named)
        self._policy = policy

    async def webserver_info_endpoint(self, _request: Request) -> JSONResponse:
        """See `DagsterWebserver.webserver_info_endpoint`."""
        told = await super().webserver_info_endpoint(_request)
        return JSONResponse({**json.loads(bytes(told.body)), "policy": self._policy})

    def handle_graphql_errors(self, errors: Sequence[GraphQLError]) -> list[Any]:
        """A denial is no fault of the server: it has a sentence, and no trace."""
        denied = [one for one in errors if _is_denial(one)]
        return [
            *(one.formatted for one in denied),
            *super().handle_graphql_errors([o for o in errors if o not in denied]),
        ]

    def _determine_status_code(
        self, resolver_errors: list[GraphQLError] | None, captured_errors: list[Exception]
    ) -> int:
        if resolver_errors and all(_is_denial(one) for one in resolver_errors):
            return 403
        return super()._determine_status_code(resolver_errors, captured_errors)

    def build_graphql_schema(self) -> Schema:
        """The schema of the installed release, with each mutation behind its role."""
        schema = create_schema()
        mutation = schema.graphql_schema.mutation_type
        assert mutation is not None  # noqa: S101  # Dagster without mutations would be another product
        for name, field in mutation.fields.items():
            field.resolve = _guarded(name, field.resolve)
        return schema


def _is_denial(error: GraphQLError) -> bool:
    return isinstance(error, Denied) or isinstance(error.original_error, Denied)


def _guarded(name: str, resolve: Any) -> Any:
    def guarded(root: Any, info: Any, **arguments: Any) -> Any:
        request: RoleRequest = info.context
        if not may(request.roles, request.role, name):
            raise Denied(_denied(request.roles, name, request.role), extensions={"code": "FORBIDDEN"})
        return resolve(root, info, **arguments)

    return guarded


def _permission(roles: DagsterRoles, role: Role, permission: Permissions) -> PermissionResult:
    mutation = MUTATION_OF[permission]
    enabled = may(roles, role, mutation)
    return PermissionResult(enabled=enabled, disabled_reason=None if enabled else _denied(roles, mutation, role))


def _denied(roles: DagsterRoles, mutation: str, role: Role) -> str:
    least = least_role(roles, mutation)
    if least is None:
        return f"By the policy nobody may {mutation}."
    of = {Role.LAUNCHER: roles.launchers, Role.ADMINISTRATOR: roles.administrators}.get(least, roles.viewers)
    yours = f"you are of the {WHO[role]}" if role in WHO else "you have no role"
    return f"By the policy {mutation} is for {WHO[least]} ({', '.join(of)}); {yours}."
