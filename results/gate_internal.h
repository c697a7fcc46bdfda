// SPDX-License-Identifier: MIT
// What the files of the gate share: lines under construction (gate.c), checks of metrics
// (gate_check.c), what is read from attempts (gate_attempts.c), sentences (gate_words.c), and text
// made harmless for reports (report_gate.c).
#pragma once

#include "results/gate.h"

/** A gate at work. */
typedef struct GateWork {
    Results *results;
    Arena *arena; // of the report
    const GatePolicy *policy;
    Side candidate;
    Side baseline;   // n_runs 0: none
    Str no_baseline; // why there is none, for messages
    bool first_allowed;
    Pairing *pairings;
    size_t n_pairings;
    GateLine *lines;
    size_t n_lines;
    size_t cap_lines;
    size_t n_checks; // by limits
    double no_false; // chance that none of them errs
    Err *err;
} GateWork;

/** A new line: all empty, passed. */
GateLine *gate_line_add(GateWork *work, const char *kind);
/** A demand of structure that is not met. */
void gate_structure_failed(GateWork *work, Str what, Str message);
/** "mmlu:variant=plain,model=echo": as much as tells the pairing from the others of its eval. */
Str gate_pairing_label(const GateWork *work, const Pairing *pairing);
bool gate_has_candidate(const Pairing *pairing);
bool gate_has_base(const Pairing *pairing);

/** The checks that the policy's bounds are for a pairing which the candidate has. */
bool gate_check_pairing(GateWork *work, const Pairing *pairing);
bool gate_check_must_pass(GateWork *work, const GateDemand *demand);
bool gate_check_budget(GateWork *work, const GateDemand *demand);

// ---- Words --------------------------------------------------------------------------------------

#define GATE_WORD_MAX 200 // bytes of a name that comes from outside, in a report

/** A name from outside, cut to GATE_WORD_MAX. */
Str gate_word(Arena *arena, Str text);
/** The sentence of a check by limits; line has all but its message. */
Str gate_sentence(const GateWork *work, const GateLine *line, const GateDemand *demand);
/**
 * Samples that would decide an open check: if nothing changed (a value: is as seen), and where that
 * many are there already, if the loss is as seen. NaN: more than there are. */
double gate_n_decide(const GateLine *line, bool *out_as_seen);
/** "2 errors, 1 unscored" of a side's states; "" when all samples have a value. */
Str gate_states_words(Arena *arena, const size_t states[SAMPLE_STATE_COUNT]);

// ---- Reports ------------------------------------------------------------------------------------

/** One line of harmless text for terminals and the logs of CI systems, which read commands there.
 */
Str gate_clean(Arena *arena, Str text);
/** "gate release: FAIL: 2 of 5 checks" without a verdict's colour; harmless. */
Str gate_headline(Arena *arena, const GateReport *gate);
/** "candidate a (x1y2z3), baseline b (...)"; harmless. */
Str gate_sides_words(Arena *arena, const GateReport *gate);
/** The chance of a false fail in words; "" with fewer than two checks. */
Str gate_family_words(Arena *arena, const GateReport *gate);
/** Cells of a line: number texts, "" where there is none. */
typedef struct GateCells {
    Str value;
    Str baseline;
    Str better_by; // signed
    Str limits;    // of the difference, or of the value
    Str n;
    Str decide; // samples that would decide; "" once decided
} GateCells;
GateCells gate_cells(Arena *arena, const GateLine *line);
