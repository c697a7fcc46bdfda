-- SPDX-License-Identifier: MIT
-- Version 2: baselines have a history, and experiments can be promoted, rescored and merged.

-- A CHECK can not be changed in place; the view is in the way of the new table's name.
DROP VIEW v_experiment;
CREATE TABLE event_2 (
    id INTEGER PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiment (id),
    at_ms INTEGER NOT NULL, -- milliseconds since 1970 UTC
    kind TEXT NOT NULL CHECK (kind IN ('started', 'resumed', 'interrupted', 'finished',
                                       'promoted', 'rescored', 'merged')),
    detail TEXT             -- JSON: provenance at a start, engine counters at an end, else what was done
) STRICT;
INSERT INTO event_2 SELECT id, experiment_id, at_ms, kind, detail FROM event;
DROP TABLE event;
ALTER TABLE event_2 RENAME TO event;
CREATE INDEX event_of_experiment ON event (experiment_id);

-- Every move of a baseline. The experiment's name stays when gc has removed the experiment.
CREATE TABLE baseline_event (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL CHECK (name <> ''),
    experiment_id INTEGER REFERENCES experiment (id), -- NULL: removed since
    experiment TEXT NOT NULL, -- its name
    short_id TEXT NOT NULL,   -- its short id
    moved_ms INTEGER NOT NULL, -- milliseconds since 1970 UTC
    who TEXT NOT NULL,         -- user@host; '' unknown
    forced INTEGER NOT NULL CHECK (forced IN (0, 1)), -- promoted against its policy
    detail TEXT                -- JSON: the gate's verdict
) STRICT;
CREATE INDEX baseline_event_of_name ON baseline_event (name);
INSERT INTO baseline_event (name, experiment_id, experiment, short_id, moved_ms, who, forced, detail)
SELECT b.name, b.experiment_id, e.name, e.short_id, b.moved_ms, '', b.forced, b.detail
  FROM baseline AS b
  JOIN experiment AS e ON e.id = b.experiment_id;

CREATE VIEW v_experiment AS
SELECT e.id, e.name, e.short_id, e.state, e.started_ms, e.ended_ms, e.tags, e.spec, e.spec_hash,
       e.provenance,
       (SELECT v.detail FROM event AS v
         WHERE v.experiment_id = e.id AND v.kind IN ('interrupted', 'finished')
         ORDER BY v.id DESC LIMIT 1) AS stats,
       (SELECT count(*) FROM run AS r WHERE r.experiment_id = e.id) AS n_runs,
       (SELECT coalesce(sum(r.n_planned), 0) FROM run AS r WHERE r.experiment_id = e.id) AS n_planned,
       (SELECT coalesce(sum((SELECT count(*) FROM attempt AS a WHERE a.run_id = r.id)
                          - (SELECT count(*) FROM attempt AS a
                              WHERE a.run_id = r.id AND a.state <> 'done')), 0)
          FROM run AS r WHERE r.experiment_id = e.id) AS n_done,
       (SELECT coalesce(sum((SELECT count(*) FROM attempt AS a
                              WHERE a.run_id = r.id AND a.state <> 'done' AND a.state = 'error')), 0)
          FROM run AS r WHERE r.experiment_id = e.id) AS n_errors
  FROM experiment AS e;

CREATE VIEW v_baseline AS
SELECT b.name, b.experiment_id, e.name AS experiment, e.short_id, b.moved_ms,
       coalesce((SELECT v.who FROM baseline_event AS v
                  WHERE v.name = b.name ORDER BY v.id DESC LIMIT 1), '') AS who,
       b.forced, b.detail
  FROM baseline AS b
  JOIN experiment AS e ON e.id = b.experiment_id;

-- In the order of the moves.
CREATE VIEW v_baseline_event AS
SELECT id, name, experiment_id, experiment, short_id, moved_ms, who, forced, detail
  FROM baseline_event;

-- Which store this is: a -wal that was left beside another file is told apart by it.
CREATE TABLE store (
    id BLOB NOT NULL CHECK (length(id) = 16) -- random
) STRICT;
INSERT INTO store (id) VALUES (randomblob(16));

PRAGMA user_version = 2;
