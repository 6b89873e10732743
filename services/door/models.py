"""The shapes of answers that every door gives, as OpenAPI shows them."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ProblemDocument(BaseModel):
    """Why something was refused (RFC 9457)."""

    type: str = Field(description="Kind of problem, urn:darkroom:problem:<code>.")
    title: str = Field(description="The same for every problem of the kind.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was found in this request, and what to do.")
    instance: str | None = Field(default=None, description="Number of this request, as the service's log has it.")
    retry_after: int | None = Field(default=None, description="Seconds after which to try again.")


class Readiness(BaseModel):
    """Whether the instance can do its work, and if not, what is missing."""

    ready: bool
    checks: dict[str, str] = Field(
        description="By what was asked: ok, or a sentence. A door is ready without PostgreSQL."
    )
