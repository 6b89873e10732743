"""The chain of schema `signin`: items that keep every version, members, sales, and the record of who changed what.

Everything belongs to `signin_owner`, a role that nobody logs in as; it is no superuser, for its functions run with its
rights (SECURITY DEFINER). Rights of others are the policy's matter. Every trigger is ENABLE ALWAYS, so that no session
switches them off by `session_replication_role`.
"""
