-- Texts are kept as bytes, in UTF-8, so that neither the database's encoding nor its collation matters, nor a NUL:
-- `convert_from(id, 'UTF8')` shows one.
CREATE TABLE x402.records (
    -- SHA-256 of space and id, since an index takes nothing long.
    key bytea PRIMARY KEY,
    space bytea NOT NULL,
    id bytea NOT NULL,
    stamp text NOT NULL,
    state bytea NOT NULL,
    open boolean NOT NULL,
    written_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX records_open ON x402.records (sha256(space)) WHERE open;
CREATE INDEX records_expiry ON x402.records (expires_at);
