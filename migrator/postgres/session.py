"""The session settings that the code relies on, and why each other setting is left to the server.

A role or a database may have settings of its own (ALTER ROLE … SET, ALTER DATABASE … SET). Every connection sets what
statements, results or comparisons depend on. Settings that change only the speed or the log of the server are not set.
Not here: opening a connection (`targets/server.py`), settings of one stage (`synchronous_commit` while loading).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from migrator.postgres.search_path import ISOLATED, owner_path

Connection = psycopg.Connection[Any]

# name -> (value, reason). Set after connecting and not as startup parameters, which PgBouncer refuses.
REQUIRED: dict[str, tuple[str, str]] = {
    "TimeZone": ("UTC", "timestamps are written and compared as UTC"),
    "DateStyle": ("ISO, MDY", "dates cast to text are compared and parsed"),
    "IntervalStyle": ("postgres", "defaults of interval columns are compared as text"),
    "bytea_output": ("hex", "digests cast bytea to text"),
    "extra_float_digits": ("1", "floating-point numbers cast to text must be exact"),
    "array_nulls": ("on", "arrays cast from text may hold NULL"),
    "standard_conforming_strings": ("on", "literals in generated statements hold backslashes"),
    "backslash_quote": ("safe_encoding", "quoting of literals must have one meaning"),
    "transform_null_equals": ("off", "`= NULL` must not become `IS NULL`"),
    "quote_all_identifiers": ("off", "definitions from the catalog are compared as text"),
    "xmloption": ("content", "casts to xml must have one meaning"),
    "default_transaction_isolation": ("read committed", "every batch must see what other workers have committed"),
    "default_transaction_deferrable": ("off", "a transaction must not wait for a safe snapshot"),
    "row_security": ("on", "a role may read one tenant; commands that need all rows refuse hidden ones by name"),
    "statement_timeout": ("0", "a COPY or an index build can take hours"),
    "lock_timeout": ("0", "statements that must not wait set their own"),
    "idle_in_transaction_session_timeout": ("0", "a transaction waits while documents are read"),
    "idle_session_timeout": ("0", "a session waits while other workers finish"),
    "transaction_timeout": ("0", "a revert is one transaction"),
    "exit_on_error": ("off", "an error that is handled must not end the session"),
    "gin_fuzzy_search_limit": ("0", "a search through an index must return every row"),
    "restrict_nonsystem_relation_kind": ("", "views and foreign tables are read"),
    "default_table_access_method": ("heap", "`xmin` and `ctid` tell who wrote a row"),
    "check_function_bodies": ("on", "a function that cannot work must fail when it is created"),
    "log_parameter_max_length_on_error": ("0", "values of documents must not get into the server's log"),
    # The server must notice a lost client, too: its session holds locks.
    "tcp_keepalives_idle": ("30", "a lost client is noticed after two minutes"),
    "tcp_keepalives_interval": ("10", "a lost client is noticed after two minutes"),
    "tcp_keepalives_count": ("6", "a lost client is noticed after two minutes"),
    "tcp_user_timeout": ("120000", "a lost client is noticed after two minutes"),
}

SPEED = "changes the speed only"
LOG = "changes only what the server logs"
OWNER = "the owner's choice for new objects"
UNUSED = "no statement depends on it"
# name or prefix (with *) -> why the value of the role, database or server holds
LEFT: dict[str, str] = {
    **dict.fromkeys(
        (
            "enable_*", "cpu_*", "geqo*", "jit*", "parallel_*", "min_parallel_*", "max_parallel_*", "seq_page_cost",
            "random_page_cost", "effective_*", "from_collapse_limit", "join_collapse_limit", "cursor_tuple_fraction",
            "constraint_exclusion", "plan_cache_mode", "recursive_worktable_factor", "hash_mem_multiplier", "work_mem",
            "maintenance_*", "logical_decoding_work_mem", "temp_buffers", "backend_flush_after", "commit_siblings",
            "default_statistics_target", "gin_pending_list_limit", "io_combine_limit", "io_max_combine_limit",
            "stats_fetch_consistency", "synchronize_seqscans", "vacuum_*", "wal_skip_threshold", "file_copy_method",
            "client_connection_check_interval", "force_parallel_mode", "old_snapshot_threshold", "debug_parallel_query",
        ),
        SPEED,
    ),
    **dict.fromkeys(
        ("trace_*", "debug_*", "escape_string_warning", "client_min_messages", "md5_password_warnings"), LOG
    ),
    **dict.fromkeys(
        ("default_tablespace", "temp_tablespaces", "default_toast_compression", "createrole_self_grant"), OWNER
    ),
    **dict.fromkeys(
        (
            "application_name", "default_text_search_config", "icu_validation_level", "lc_monetary", "lc_numeric",
            "lc_time", "local_preload_libraries", "password_encryption", "scram_iterations", "timezone_abbreviations",
            "wal_sender_timeout", "xmlbinary", "ssl_renegotiation_limit", "operator_precedence_warning",
        ),
        UNUSED,
    ),
    "client_encoding": "set when the connection is opened",
    "search_path": "set by `prepare_session`, so that no object of the owner takes the place of one of pg_catalog",
    "synchronous_commit": "the owner's choice; the load turns it off for itself, the last commit of a run does not",
    "default_transaction_read_only": "the owner's protection: a blocker that names the setting",
    "transaction_isolation": "belongs to one transaction",
    "transaction_read_only": "belongs to one transaction",
    "transaction_deferrable": "belongs to one transaction",
    "seed": "no statement draws random numbers",
}  # fmt: skip

_FORMS = frozenset(
    {"TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits", "standard_conforming_strings",
     "transform_null_equals", "quote_all_identifiers", "row_security"}
)  # fmt: skip

_SET = sql.SQL(
    # `current_setting` and not `pg_settings`, which describes all settings of the server: a millisecond per connection.
    "SELECT pg_catalog.set_config(w.name, w.value, %s) FROM (VALUES {}) AS w (name, value)"
    " WHERE pg_catalog.current_setting(w.name, true) IS NOT NULL"
).format(
    sql.SQL(", ").join(
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value)) for name, (value, _) in REQUIRED.items()
    )
)
# The same without a filter, and in one round trip: half of the time of a new session went into the filter.
_SET_ALL = "; ".join(
    [
        f"SET search_path = {ISOLATED}",
        *(f"SET {name} = {sql.Literal(value).as_string()}" for name, (value, _) in REQUIRED.items()),
    ]
)
_HAS_ALL = 170_000  # the version of PostgreSQL that has all settings
# What functions of the owner may change: the search path, and the forms of values in results and comparisons.
_RESTORE = "SELECT " + ", ".join(
    f"pg_catalog.set_config('{name}', '{value}', false)"
    for name, value in {
        "search_path": ISOLATED,
        **{name: REQUIRED[name][0] for name in REQUIRED if name in _FORMS},
    }.items()
)


def prepare_session(connection: Connection) -> None:
    """Set what the code relies on in a new session. Settings that the server does not have are skipped."""
    if connection.info.server_version >= _HAS_ALL:
        try:
            connection.execute(_SET_ALL)
        except psycopg.errors.UndefinedObject:  # a server that is compatible with PostgreSQL only
            pass
        else:
            return
    connection.execute(f"SET search_path = {ISOLATED}")
    connection.execute(_SET, (False,))


def prepare_transaction(connection: Connection) -> None:
    """Set what the code relies on until the end of the open transaction. The search path stays as it is.

    For databases that are only read, perhaps through a connection pooler: settings of a session would apply to others.
    """
    connection.execute(_SET, (True,))


@contextmanager
def owner_search_path(connection: Connection) -> Iterator[None]:
    """Search the schemas of the owner's setting in the block, which writes rows in an open transaction.

    Functions in checks, indexes, defaults, generated columns and triggers of the owner find others by this path. They
    may set parameters of the session, so those that shape results are set again after the block.
    Statements of the block must qualify functions and operators: the types of arguments may fit others better.
    """
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (owner_path(connection),))
    yield
    connection.execute(_RESTORE)  # after an error, the rollback does it


def decide_setting(name: str) -> str | None:
    """Return why a setting is set or not set; None if it is in neither list."""
    if name in REQUIRED:
        return REQUIRED[name][1]
    for pattern, reason in LEFT.items():
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return reason
    return None


# An ivfflat index with 1536 dimensions on more than 10,000 rows fails with the server's default of 64 MB ("memory
# required is 65 MB"). More than 256 MB speed up neither this nor a full-text index. A higher setting is kept.
_BUILD_MEMORY = """
    SELECT set_config('maintenance_work_mem', greatest(pg_size_bytes(current_setting('maintenance_work_mem')) / 1024,
                      262144)::text || 'kB', false)
"""


def give_build_memory(connection: Connection) -> None:
    """Give a session the memory to build large indexes."""
    connection.execute(_BUILD_MEMORY)
