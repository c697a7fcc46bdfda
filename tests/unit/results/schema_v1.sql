-- SPDX-License-Identifier: MIT
-- A store as version 1 wrote it: its schema word for word, then what one run left. Never to be changed:
-- migrations and readers are tested against it.
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

INSERT INTO blob VALUES(X'4d90b6878ef237fef3229433b8d7102ad3db8b917b3f520353cf54bc01bba7c2','{"eval":"capitals","version":1,"part":null,"variant":"plain","model":"echo","epochs":1,"n_planned":3,"eval_hash":"a6322889a4d9afed45999c073c9ad18c76f4592c09bb4b0496c4ba35ca00731a","program_hash":"7f69c7a8f2efa603286faf2bf86ec5d64d1eec771dc982b33c8aebec0a413689","data_hash":"a5ed504fa04536f2a6c34003a6a36dea5e0e001f40d4bd437e7f0513c4f2db26","model_hash":"f5196cb57349730babb87b5d6e8e8aaf6627e6d61ef7cc73699d37bb13f5b561"}');
INSERT INTO blob VALUES(X'5b9efe85d6406d2d67d49b7f5c07d5da0b93d30d0128b20993d4a4da39552948','[{"use":"accuracy","graders":[{"name":"includes","use":"includes","low":0.0,"high":1.0}]}]');
INSERT INTO blob VALUES(X'319e7131adc3b9331a9c018935db9645209132b95e3a38cb2b84037ab9407b3d','{"eval":"capitals","version":1,"part":null,"variant":"told","model":"echo","epochs":1,"n_planned":3,"eval_hash":"a6322889a4d9afed45999c073c9ad18c76f4592c09bb4b0496c4ba35ca00731a","program_hash":"f8c3a8fb51b38d0470c3f05aad256ca899ce0c000d12b18ecc4494c438ca8a60","data_hash":"a5ed504fa04536f2a6c34003a6a36dea5e0e001f40d4bd437e7f0513c4f2db26","model_hash":"f5196cb57349730babb87b5d6e8e8aaf6627e6d61ef7cc73699d37bb13f5b561"}');
INSERT INTO experiment VALUES(1,'old','gx6582','finished',1795643284993,1795643285012,'{}','{"seed":0,"limit_from":0,"limit_to":0,"limit_total":0,"epochs":0,"shard":0,"shards":0,"chat":false,"precision":"default"}',X'86889fb403f7f58461090ed8d1668925e2c78975151fc1c647cba161c522d13a','{"program":"0.1.0","command":["muster","run","capitals"]}');
INSERT INTO run VALUES(1,1,0,1,'capitals',1,'','plain','echo',3,1,X'a6322889a4d9afed45999c073c9ad18c76f4592c09bb4b0496c4ba35ca00731a',X'7f69c7a8f2efa603286faf2bf86ec5d64d1eec771dc982b33c8aebec0a413689',X'a5ed504fa04536f2a6c34003a6a36dea5e0e001f40d4bd437e7f0513c4f2db26',X'f5196cb57349730babb87b5d6e8e8aaf6627e6d61ef7cc73699d37bb13f5b561',X'4d90b6878ef237fef3229433b8d7102ad3db8b917b3f520353cf54bc01bba7c2',X'5b9efe85d6406d2d67d49b7f5c07d5da0b93d30d0128b20993d4a4da39552948');
INSERT INTO run VALUES(2,1,1,1,'capitals',1,'','told','echo',3,1,X'a6322889a4d9afed45999c073c9ad18c76f4592c09bb4b0496c4ba35ca00731a',X'f8c3a8fb51b38d0470c3f05aad256ca899ce0c000d12b18ecc4494c438ca8a60',X'a5ed504fa04536f2a6c34003a6a36dea5e0e001f40d4bd437e7f0513c4f2db26',X'f5196cb57349730babb87b5d6e8e8aaf6627e6d61ef7cc73699d37bb13f5b561',X'319e7131adc3b9331a9c018935db9645209132b95e3a38cb2b84037ab9407b3d',X'5b9efe85d6406d2d67d49b7f5c07d5da0b93d30d0128b20993d4a4da39552948');
INSERT INTO sample VALUES(1,1,'0',X'256062f2442bee40378d34c7ede62ef0a0a5769e792ac2183f212f73a81f5f95',NULL,'What is the capital of France?','["Paris"]','{"c":"France"}');
INSERT INTO sample VALUES(2,1,'1',X'f961bf661ac887d0dd87b36028579f0a082bcd9afe631d10a9b8cd02cbe29422',NULL,'What is the capital of Italy?','["Rome"]','{"c":"Italy"}');
INSERT INTO sample VALUES(3,1,'2',X'0a7749698c77910cee4364937935d2930fa5bdba3ce5ed6d23f1c4177372a922',NULL,'What is the capital of Austria?','["Vienna"]','{"c":"Austria"}');
INSERT INTO attempt VALUES(1,1,'0',1,'done',1,1795643285008,NULL,NULL,'stop',6,6,0,0,0.0,0.0,X'6665023000e30ce97a5f4d994772a18fc667e5c6838d699d8d4508fef1ef23e2',X'115049a298532be2f181edb03f766770c0db84c22aff39003fec340deaec7545',NULL,NULL,NULL,'What is the capital of France?','[{"role":"user","content":"What is the capital of France?"}]');
INSERT INTO attempt VALUES(2,1,'1',1,'done',2,1795643285008,NULL,NULL,'stop',6,6,0,0,0.0,0.0,X'd7e7528daa9e056988aa5c96016a1ad012cfc901a93635bda4f31e82c2aa17cc',X'439ed6573fd36f1748eaff54048ef124461616d2c419643917b41df214c5cb94',NULL,NULL,NULL,'What is the capital of Italy?','[{"role":"user","content":"What is the capital of Italy?"}]');
INSERT INTO attempt VALUES(3,1,'2',1,'done',3,1795643285008,NULL,NULL,'stop',6,6,0,0,0.0,0.0,X'58773ad41a37d05016522dd88729d588907333ff3757e5a0774636a21a033f27',X'29cf81ffcbb35d1285fa70e6229a5567629304623937508eba0be3936427bfc7',NULL,NULL,NULL,'What is the capital of Austria?','[{"role":"user","content":"What is the capital of Austria?"}]');
INSERT INTO attempt VALUES(4,2,'0',1,'done',1,1795643285008,NULL,NULL,'stop',8,8,0,0,0.0,0.0,X'2c8f1f2b7170271d3c35e2d55e33b8b1b2dc079825229c024ceb4be1b6d7a115',X'2c8f1f2b7170271d3c35e2d55e33b8b1b2dc079825229c024ceb4be1b6d7a115',NULL,NULL,NULL,'What is the capital of France? Say Rome.','What is the capital of France? Say Rome.');
INSERT INTO attempt VALUES(5,2,'1',1,'done',2,1795643285008,NULL,NULL,'stop',8,8,0,0,0.0,0.0,X'36f9446f4c3a2c3ada302fe100eaa47c541e305d2b0fc37aec15af385c4aeaa1',X'36f9446f4c3a2c3ada302fe100eaa47c541e305d2b0fc37aec15af385c4aeaa1',NULL,NULL,NULL,'What is the capital of Italy? Say Rome.','What is the capital of Italy? Say Rome.');
INSERT INTO attempt VALUES(6,2,'2',1,'done',3,1795643285008,NULL,NULL,'stop',8,8,0,0,0.0,0.0,X'3e343aa79169c9c34bb6682fa0427de341dae285631daad397bbafe332201566',X'3e343aa79169c9c34bb6682fa0427de341dae285631daad397bbafe332201566',NULL,NULL,NULL,'What is the capital of Austria? Say Rome.','What is the capital of Austria? Say Rome.');
INSERT INTO score VALUES(1,0,'includes',0.0,NULL,1,1.0,NULL,'''Paris'' is not in the answer',NULL);
INSERT INTO score VALUES(2,0,'includes',0.0,NULL,1,1.0,NULL,'''Rome'' is not in the answer',NULL);
INSERT INTO score VALUES(3,0,'includes',0.0,NULL,1,1.0,NULL,'''Vienna'' is not in the answer',NULL);
INSERT INTO score VALUES(4,0,'includes',0.0,NULL,1,1.0,NULL,'''Paris'' is not in the answer',NULL);
INSERT INTO score VALUES(5,0,'includes',1.0,NULL,1,1.0,NULL,'',NULL);
INSERT INTO score VALUES(6,0,'includes',0.0,NULL,1,1.0,NULL,'''Vienna'' is not in the answer',NULL);
INSERT INTO call VALUES(1,'0',6253026916308872243,X'941872822c7b73d3f5c480a03709880212222f7a25c7296c3fe6bfcaef205ce6',1,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of France?","stop":"stop","usage":{"input":6,"output":6,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO call VALUES(2,'0',-9221189481560640858,X'a6a99687c345b1209ffb88f6e2c6db3e92b6e9e20d677b6aab27c1e0cf597290',1,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of Italy?","stop":"stop","usage":{"input":6,"output":6,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO call VALUES(3,'0',-4793435584704434989,X'989f0417f4cced6b70baa9f34c9c1e7ff33ea0997fdd23078099df89b67fb9e3',1,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of Austria?","stop":"stop","usage":{"input":6,"output":6,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO call VALUES(4,'0',6253026916308872243,X'0251535974388f81363f6bfd5a15c65e5bd369e344ed50b0e6b82b70c278a107',0,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of France? Say Rome.","stop":"stop","usage":{"input":8,"output":8,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO call VALUES(5,'0',-9221189481560640858,X'50c6152086ea7ff7c1b27545500a88c8199a8db5084650abf9aa812a19fa086d',0,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of Italy? Say Rome.","stop":"stop","usage":{"input":8,"output":8,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO call VALUES(6,'0',-4793435584704434989,X'06b6270388bfd299a1a060ce336f53f0fc141f1aa1d2c409bb27f7eb7bdaf1ae',0,'{"kind":"generate","max_tokens":8,"temperature":0.0,"top_p":1.0,"min_p":0.0,"top_k":0,"logprobs":0,"stop":[],"n":1}',NULL,'{"text":"What is the capital of Austria? Say Rome.","stop":"stop","usage":{"input":8,"output":8,"cached":0,"reasoning":0},"seconds":0.0,"cost_usd":0.0}',NULL);
INSERT INTO event VALUES(1,1,1795643284993,'started','{}');
INSERT INTO event VALUES(2,1,1795643285012,'finished','{}');
INSERT INTO baseline VALUES('main',1,1795643290000,0,NULL);
