-- SPDX-License-Identifier: MIT
-- Version 3: every transaction leaves a stamp, by which a -wal is told to be of this very state of the file.

CREATE TABLE store_3 (
    id BLOB NOT NULL CHECK (length(id) = 16),         -- random: which store this is
    before BLOB NOT NULL CHECK (length(before) = 16), -- what after was before the last transaction; zeros: there was none
    after BLOB NOT NULL CHECK (length(after) = 16),   -- random, drawn anew by every transaction
    layout INTEGER NOT NULL -- PRAGMA schema_version before that transaction: VACUUM, which moves every page, changes it
) STRICT;
INSERT INTO store_3 SELECT id, zeroblob(16), randomblob(16), 0 FROM store;
DROP TABLE store;
ALTER TABLE store_3 RENAME TO store;

PRAGMA user_version = 3;
