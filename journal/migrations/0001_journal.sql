-- +goose Up
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,          -- position in the journal, without gaps
    stream  TEXT    NOT NULL,
    pos     INTEGER NOT NULL,             -- position in the stream, without gaps
    at      INTEGER NOT NULL,             -- nanoseconds since the Unix epoch
    kind    TEXT    NOT NULL,
    body    BLOB    NOT NULL,             -- the event as JSON
    UNIQUE (stream, pos)
) STRICT;

CREATE TABLE cursors (
    destination TEXT PRIMARY KEY,
    seq         INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE cursors;
DROP TABLE events;
