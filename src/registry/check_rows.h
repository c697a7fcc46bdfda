// SPDX-License-Identifier: MIT
// What the files that check an eval's rows share: check_rows.c (rendering every row),
// check_expect.c (what `expect` demands of the rows).
#pragma once

#include "registry/eval_check.h"

#define CHECK_LISTED_MAX 20

/** Faults of one kind: listed up to the cap, counted beyond it. */
typedef struct Listed {
    size_t n;
    Value first; // the place of the first
} Listed;

/** Values seen so far, by hash. */
typedef struct SeenSet {
    uint64_t *hashes; // 0: free
    size_t cap;
    size_t n;
} SeenSet;

/** Add a hash; false when it is there already. owns   hashes is freed with mem_free. */
bool seen_add(SeenSet *seen, uint64_t hash);

/** A variable that rows lack. */
typedef struct MissingName {
    Str name;
    Value place;
    const EvalVariant *variant; // whose rows are counted: others have the same
    Str first_row;              // "test.jsonl:1, row 0"
    Str hint;                   // a did-you-mean, else the columns there are, or ""
    size_t n;                   // rows
} MissingName;

#define CHECK_MISSING_MAX 32

/** What the checks of one eval's rows share. */
typedef struct RowCheck {
    Registry *registry;
    const Eval *eval;
    Faults *faults;
    size_t max_rows;
    Arena arena; // of one row
    Arena kept;  // of the whole check
    Listed rendering;
    Listed expected;
    SeenSet seen; // messages: variants share most of their templates
    MissingName missing[CHECK_MISSING_MAX];
    size_t n_missing;
    size_t n_equal_choices; // rows with equal choices of which only some are right
    NameSet read;           // fields of the sample that prompts and graders read
    size_t n_hidden[8];     // for each field: rows whose column of that name differs
    bool needs_target;
    bool first_variant; // what does not hang on the variant is counted once
} RowCheck;

/** Count one fault at a place; whether it is to be listed. */
bool check_list_one(Listed *listed, const Value *at);

/** Report a row that can not be read, unless that was done when it was rendered. */
void check_damaged_row(RowCheck *check, Str part, const Err *cause);

/** Hold `expect` against the rows that `where` keeps. */
bool check_expect(RowCheck *check, const MatrixCell *cells, size_t n_cells, Err *err);
