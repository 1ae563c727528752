-- Times are whole milliseconds since 1970 by the database's clock, which never runs backwards.

-- One row. clock: the latest moment that a write saw. next_seq: numbers messages and claims; none is used twice.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clock INTEGER NOT NULL,
    next_seq INTEGER NOT NULL
);
INSERT INTO state (id, clock, next_seq) VALUES (1, 0, 1);

-- The data plane's queues, made at their first post. free, claimed, delayed: how many messages are in each state.
-- A purged queue loses its project and name; what is left under its id is swept away in steps.
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    project TEXT,
    name TEXT,
    free INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0,
    delayed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, name)
);

-- state: 0 active, 1 claimed, 2 delayed. position: the moment a message becomes available; ties are ordered by seq.
-- due_at: when time alone changes the message next. Active: its expiry. Delayed: its position or expiry, whichever
-- is earlier. Claimed: the end of its claim, exactly, so that one index finds both what is due and a claim's members.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,
    position INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    claim INTEGER,
    claim_count INTEGER NOT NULL DEFAULT 0,
    posted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    token TEXT NOT NULL,
    client_id TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX messages_by_position ON messages (queue, state, position);
CREATE INDEX messages_by_due ON messages (queue, due_at, claim);

-- A claim exists as long as it holds a message. started_at: when it was made or last updated.
CREATE TABLE claims (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    token TEXT NOT NULL
);

CREATE TABLE dedup (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    dedup_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    forget_at INTEGER NOT NULL,
    UNIQUE (queue, dedup_id)
);
CREATE INDEX dedup_by_forget_at ON dedup (forget_at);

-- Text compares byte by byte (BINARY), which for UTF-8 is code-point order.
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    version TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires_at INTEGER,
    value BLOB NOT NULL,
    UNIQUE (kind, project, key)
);
CREATE INDEX records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;
