"""Settings of who somebody is: tokens, sessions, and the directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from resources.settings_home import HomeSettings
from resources.settings_json import FROM_JSON


class PeopleSettings(HomeSettings):
    """A part of `resources.settings.Settings`."""

    token_issuer: str = Field(
        default="https://darkroom.local/signin",
        description="Only tokens with this `iss` are taken. A wrong value refuses every token (401).",
    )
    token_audience: str = Field(
        default="darkroom",
        description="Only tokens with this `aud` are taken. A wrong value refuses every token (401).",
    )
    token_jwks: Path | None = Field(
        default=None,
        description="JWKS file with the issuer's public keys; empty means HOME/tls/jwks.json. Missing: the service "
        "does not become ready.",
    )
    signer_file: Path | None = Field(
        default=None,
        description="File with the private key that sign-in signs with; empty means HOME/secrets/signer.key. Missing: "
        "nobody can sign in (503).",
    )
    token_seconds: Annotated[int, Field(ge=10, le=3600)] = Field(
        default=60,
        description="How long a token that sign-in gives is good for. Too high: so long does a membership that was "
        "taken away still act. Too low: clients ask for tokens all the time.",
    )
    session_seconds: Annotated[int, Field(ge=60, le=30 * 86400)] = Field(
        default=12 * 3600,
        description="How long somebody stays signed in at most. Too high: a secret that was lost is good so long. Too "
        "low: people type their passwords often.",
    )
    session_idle_seconds: Annotated[int, Field(ge=60, le=30 * 86400)] = Field(
        default=3600,
        description="How long somebody stays signed in who asks for nothing. Too high: a machine that was left alone "
        "is signed in so long. Too low: who reads a page for a while is signed out.",
    )
    ldap_urls: str = Field(
        default="",
        description="Addresses of the LDAP directory, ldaps://HOST[:PORT], several with a blank between: the first "
        "that answers is asked. A wrong one: nobody can sign in.",
    )
    ldap_base: str = Field(
        default="dc=darkroom,dc=local",
        description="Below which entry people and groups are looked for. A wrong one: nobody is found.",
    )
    ldap_bind_dn: str = Field(
        default="",
        description="Entry that looks people up; it needs to read names and members, and nothing else. A wrong one: "
        "nobody can sign in, and the log says why.",
    )
    ldap_credentials: Path | None = Field(
        default=None,
        description="File with that entry's password. Missing: nobody can sign in, and the log says why.",
    )
    ldap_ca: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the directory's certificate; empty for those that this "
        "machine trusts. A wrong one: nobody can sign in.",
    )
    ldap_user_filter: str = Field(
        default="(&(objectClass=inetOrgPerson)(uid={name}))",
        description="How somebody is found by the {name} they give; for Active Directory "
        "(&(objectClass=user)(sAMAccountName={name})). A wrong one: nobody is found.",
    )
    ldap_user_name: str = Field(
        default="uid",
        description="Attribute whose first value is somebody's name here; for Active Directory sAMAccountName. A wrong "
        "one: nobody can sign in.",
    )
    ldap_group_filter: str = Field(
        default="(&(objectClass=groupOfNames)(member={dn}))",
        description="How the groups of the entry {dn} are found; for Active Directory "
        "(&(objectClass=group)(member={dn})). A wrong one: people are in no group, and may do nothing.",
    )
    ldap_group_name: str = Field(
        default="cn",
        description="Attribute that holds a group's name, as the policy writes it. A wrong one: people may do nothing.",
    )
    ldap_nested_groups: bool = Field(
        default=True,
        description="Whether a group's members have the rights of the groups that it is in. A wrong value gives or "
        "takes these rights.",
    )
    ldap_timeout_seconds: Annotated[int, Field(ge=1, le=60)] = Field(
        default=5,
        description="Longest wait for one answer of the directory. Too high: sign-in hangs so long while a host is "
        "gone. Too low: a busy directory lets nobody in.",
    )
    openid_issuer: str = Field(
        default="",
        description="Address of an OpenID provider that proves who somebody is, in place of a password; empty: the "
        "directory does, by password. The directory says the groups either way. A wrong one: nobody can sign in (503).",
    )
    openid_client_id: str = Field(
        default="",
        description="Name under which that provider knows sign-in. A wrong one: the provider refuses everybody.",
    )
    openid_credentials: Path | None = Field(
        default=None,
        description="File with sign-in's secret there; empty for a public client. A wrong one: nobody can sign in.",
    )
    openid_ca: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the provider's certificate; empty for those that this "
        "machine trusts. A wrong one: nobody can sign in (503).",
    )
    openid_scope: str = Field(
        default="openid profile",
        description="What the provider is asked for. A wrong one, without `openid` or the name: nobody can sign in.",
    )
    openid_name_claim: str = Field(
        default="preferred_username",
        description="Claim of the ID token that is somebody's name in the directory. A wrong one: nobody can sign "
        "in; one that people can change themselves lets them be somebody else.",
    )
    policy_holders: Annotated[dict[str, Path], FROM_JSON] = Field(
        default_factory=dict,
        description="Unix sockets at which the gateway and Dagster's web servers say which policy they hold, by name; "
        "empty: they are not asked. A wrong one: the check of that name is red.",
    )
    access_seconds: Annotated[int, Field(ge=5, le=600)] = Field(
        default=20,
        description="How long after the directory's last look people's logins and rules at Kafka follow it again. Too "
        "high: who left a group is in the database so long. Too low: the directory lists everybody all the time.",
    )

    @property
    def signer_path(self) -> Path:
        """The private key that sign-in signs with."""
        return self.signer_file or self.home.absolute() / "secrets" / "signer.key"

    @property
    def jwks_path(self) -> Path:
        """The JWKS file that tokens are verified with."""
        return self.token_jwks or self.home / "tls" / "jwks.json"
