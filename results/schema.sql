-- SPDX-License-Identifier: MIT
-- The store, version 1: what happened, row by row. Applied to an empty file inside one transaction;
-- later versions come from results/migrations/. Rules that hold everywhere:
--   * times are milliseconds since 1970 UTC; hashes are SHA-256, 32 bytes; log-probabilities are nat;
--   * a text column may hold any bytes (models and datasets decide), also NUL;
--   * totals are never stored, they are computed from rows;
--   * programs read the v_ views, which outlive changes of the tables.
PRAGMA application_id = 1836413812; -- "must"
PRAGMA user_version = 1;

-- Texts that many rows share, by the hash of their bytes.
CREATE TABLE blob (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32), -- of content
    content TEXT NOT NULL
) STRICT;

-- One invocation: evals x variants x models x epochs.
CREATE TABLE experiment (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE CHECK (name <> ''),
    short_id TEXT NOT NULL UNIQUE, -- six letters and digits, for typing
    state TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'finished')),
    started_ms INTEGER NOT NULL, -- milliseconds since 1970 UTC
    ended_ms INTEGER,            -- of the last process that worked on it; NULL before
    tags TEXT NOT NULL,          -- JSON map
    spec TEXT NOT NULL,          -- JSON map: settings, seed, limit, shard; what resume compares
    spec_hash BLOB NOT NULL CHECK (length(spec_hash) = 32), -- of spec and of all its runs' specs
    provenance TEXT NOT NULL,    -- JSON map: git, host, program, command line; never compared
    CHECK ((state = 'running') = (ended_ms IS NULL))
) STRICT;

-- One eval part x variant x model within an experiment.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiment (id),
    position INTEGER NOT NULL, -- in the plan, from 0
    set_id INTEGER NOT NULL REFERENCES run (id) DEFERRABLE INITIALLY DEFERRED, -- the experiment's first run of this eval and part: those runs share sample rows
    eval TEXT NOT NULL,
    eval_version INTEGER NOT NULL,
    part TEXT NOT NULL,    -- '' when the eval has no matrix
    variant TEXT NOT NULL, -- '' when unnamed
    model TEXT NOT NULL,   -- provider/name as given
    n_planned INTEGER NOT NULL CHECK (n_planned >= 0), -- attempts: samples x epochs
    epochs INTEGER NOT NULL CHECK (epochs >= 1),       -- attempts per sample
    eval_hash BLOB NOT NULL CHECK (length(eval_hash) = 32),
    program_hash BLOB NOT NULL CHECK (length(program_hash) = 32), -- Lua and templates
    data_hash BLOB NOT NULL CHECK (length(data_hash) = 32),
    model_hash BLOB NOT NULL CHECK (length(model_hash) = 32),
    spec_hash BLOB NOT NULL REFERENCES blob (hash),    -- JSON map: all that decides the answers
    metrics_hash BLOB NOT NULL REFERENCES blob (hash), -- JSON list: what to compute from scores
    UNIQUE (experiment_id, eval, part, variant, model)
) STRICT;

-- One row of the dataset as the eval renders it, once per set of runs. Without an index of its own:
-- attempts lead here.
CREATE TABLE sample (
    id INTEGER PRIMARY KEY,
    set_id INTEGER NOT NULL REFERENCES run (id),
    sample_id TEXT NOT NULL, -- the eval's own id; pairs samples across experiments
    hash BLOB NOT NULL CHECK (length(hash) = 32), -- of input, choices, targets, metadata, cluster
    cluster TEXT,            -- samples that share it are one cluster; NULL: none
    input TEXT NOT NULL,     -- text, or JSON messages
    target TEXT NOT NULL,    -- JSON list of texts, or ''
    metadata TEXT NOT NULL   -- JSON map, or ''
) STRICT;
CREATE INDEX sample_clustered ON sample (set_id) WHERE cluster IS NOT NULL;

-- One sample x epoch in a run. It is 'open' from its first stored call to its closing.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES run (id),
    sample_id TEXT NOT NULL, -- the eval's own id, known before the sample's row is
    epoch INTEGER NOT NULL,  -- from 0 or 1, as the caller counts
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'error')),
    sample_row INTEGER REFERENCES sample (id), -- NULL only while open
    closed_ms INTEGER,        -- milliseconds since 1970 UTC of its commit
    error_code TEXT,          -- word of the error's kind
    error TEXT,               -- its message
    stop TEXT,                -- stop, length, tool_calls, filter, limit; NULL after an error
    input_tokens INTEGER,     -- tokens of all its calls, as are the next three
    output_tokens INTEGER,    -- tokens
    cached_tokens INTEGER,    -- tokens of the input that the provider had cached
    reasoning_tokens INTEGER, -- tokens of the output that are not shown
    seconds REAL,             -- sum over its calls, s
    cost_usd REAL,            -- US dollars; NULL: unknown
    prompt_hash BLOB,         -- of prompt
    reply_hash BLOB,          -- of reply_text
    choice_logprobs TEXT,     -- JSON list, nat, exact; NULL without choices
    choice_info TEXT,         -- JSON list of {text, unconditional, tokens, greedy}
    notes TEXT,               -- lines from ctx.note
    reply_text TEXT,          -- what was graded
    prompt TEXT,              -- text, or JSON messages
    UNIQUE (run_id, sample_id, epoch),
    CHECK (state = 'open' OR (sample_row IS NOT NULL AND closed_ms IS NOT NULL)),
    CHECK ((state = 'error') = (error_code IS NOT NULL))
) STRICT;
CREATE INDEX attempt_not_done ON attempt (run_id, state) WHERE state <> 'done';

-- One grader's verdict on a finished attempt. A grader that does not apply has no row.
CREATE TABLE score (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id),
    position INTEGER NOT NULL,   -- of the grader in the eval, from 0
    grader TEXT NOT NULL,
    value REAL,                  -- in the grader's range; NULL: unscored
    reason TEXT,                 -- why it is unscored
    is_boolean INTEGER NOT NULL CHECK (is_boolean IN (0, 1)), -- declared as true or false
    weight REAL NOT NULL CHECK (weight > 0),                  -- of this score in ratios of sums
    answer TEXT,                 -- what was judged; NULL: no answer found
    why TEXT NOT NULL,           -- a sentence for people
    detail TEXT,                 -- JSON; shown, never aggregated
    PRIMARY KEY (attempt_id, position),
    CHECK ((value IS NULL) = (reason IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- One reply of a model: the log that an attempt is.
CREATE TABLE call (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id),
    path TEXT NOT NULL,         -- place of the call: '0', '2.1'; a grader's start with g
    seed INTEGER NOT NULL,      -- 64 bits of the request's seed
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32), -- of request, is_chat and the prompt's hash
    is_chat INTEGER NOT NULL CHECK (is_chat IN (0, 1)), -- whether prompt is JSON messages
    request TEXT NOT NULL,      -- JSON map; its prompt (of scoring items: the shared context) is left out
    prompt TEXT,                -- that prompt; NULL: the attempt's
    reply TEXT NOT NULL,        -- JSON map
    raw_text TEXT,              -- the reply's text where it is not UTF-8, which JSON can not hold
    PRIMARY KEY (attempt_id, path)
) STRICT, WITHOUT ROWID;

-- What happened to an experiment: started, resumed, interrupted, finished.
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    experiment_id INTEGER NOT NULL REFERENCES experiment (id),
    at_ms INTEGER NOT NULL, -- milliseconds since 1970 UTC
    kind TEXT NOT NULL CHECK (kind IN ('started', 'resumed', 'interrupted', 'finished')),
    detail TEXT             -- JSON: provenance at a start, engine counters at an end
) STRICT;
CREATE INDEX event_of_experiment ON event (experiment_id);

-- A named pointer to an experiment.
CREATE TABLE baseline (
    name TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    experiment_id INTEGER NOT NULL REFERENCES experiment (id),
    moved_ms INTEGER NOT NULL,  -- milliseconds since 1970 UTC
    forced INTEGER NOT NULL CHECK (forced IN (0, 1)), -- promoted against its policy
    detail TEXT                 -- JSON: the gate's verdict
) STRICT;

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

CREATE VIEW v_run AS
SELECT r.id, r.experiment_id, r.position, r.set_id, r.eval, r.eval_version, r.part, r.variant,
       r.model, r.n_planned, r.epochs, r.eval_hash, r.program_hash, r.data_hash, r.model_hash,
       s.content AS spec, m.content AS metrics,
       EXISTS (SELECT 1 FROM sample AS c WHERE c.set_id = r.set_id AND c.cluster IS NOT NULL)
           AS has_clusters
  FROM run AS r
  JOIN blob AS s ON s.hash = r.spec_hash
  JOIN blob AS m ON m.hash = r.metrics_hash;

-- Closed attempts with their sample.
CREATE VIEW v_attempt AS
SELECT a.id, a.run_id, r.experiment_id, r.eval, r.part, r.variant, r.model, a.sample_id, a.epoch,
       a.state, a.closed_ms, a.error_code, a.error, s.hash AS sample_hash, s.cluster, s.input,
       s.target, s.metadata, a.prompt, a.reply_text, a.stop, a.choice_logprobs, a.choice_info,
       a.input_tokens, a.output_tokens, a.cached_tokens, a.reasoning_tokens, a.seconds, a.cost_usd,
       a.notes
  FROM attempt AS a
  JOIN run AS r ON r.id = a.run_id
  JOIN sample AS s ON s.id = a.sample_row
 WHERE a.state <> 'open';

-- Closed attempts without their texts: for totals.
CREATE VIEW v_closed AS
SELECT run_id, state, input_tokens, output_tokens, cached_tokens, reasoning_tokens, seconds, cost_usd
  FROM attempt
 WHERE state <> 'open';

CREATE VIEW v_score AS
SELECT a.run_id, a.sample_id, a.epoch, c.attempt_id, c.position, c.grader, c.value, c.reason,
       c.is_boolean, c.weight, c.answer, c.why, c.detail
  FROM attempt AS a
  JOIN score AS c ON c.attempt_id = a.id;

CREATE VIEW v_clustered_score AS
SELECT a.run_id, a.sample_id, a.epoch, s.cluster, c.position, c.grader, c.value, c.is_boolean,
       c.weight
  FROM attempt AS a
  JOIN sample AS s ON s.id = a.sample_row
  JOIN score AS c ON c.attempt_id = a.id;

CREATE VIEW v_call AS
SELECT c.attempt_id, c.path, c.seed, c.request_hash, c.is_chat, c.request,
       coalesce(c.prompt, a.prompt, '') AS prompt, c.reply, c.raw_text,
       a.run_id, a.sample_id, a.epoch, a.state
  FROM call AS c
  JOIN attempt AS a ON a.id = c.attempt_id;

-- The canonical row of DESIGN.md 4.5 for one run; v_result has all runs, in order.
CREATE VIEW v_run_result AS
SELECT a.run_id, a.sample_id, lower(hex(s.hash)) AS sample_hash, a.epoch, a.reply_text,
       a.choice_logprobs, a.stop, a.error_code AS error_type, c.grader, c.value, c.reason, c.answer
  FROM attempt AS a
  JOIN sample AS s ON s.id = a.sample_row
  LEFT JOIN score AS c ON c.attempt_id = a.id
 WHERE a.state <> 'open';

-- Without times, ids or host: equal experiments have equal rows. The experiment's id, last, is there
-- to select by and is no part of the canonical row.
CREATE VIEW v_result AS
SELECT r.eval, r.part, r.variant, r.model, v.sample_id, v.sample_hash, v.epoch, v.reply_text,
       v.choice_logprobs, v.stop, v.error_type, v.grader, v.value, v.reason, v.answer,
       r.experiment_id
  FROM v_run_result AS v
  JOIN run AS r ON r.id = v.run_id
 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15;
