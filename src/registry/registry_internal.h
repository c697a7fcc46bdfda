// SPDX-License-Identifier: MIT
// What the files of the registry room share: the registry itself, datasets, opened rows, templates
// that are ready to render, and the private half of a task. Everything belongs to the loop thread.
#pragma once

#include "registry/keys.h"
#include "registry/registry.h"

#define REGISTRY_YAML_MAX_BYTES ((size_t)8 << 20)
#define REGISTRY_LUA_MAX_BYTES  ((size_t)4 << 20)
#define REGISTRY_TEXT_MAX_BYTES ((size_t)8 << 20)

// ---- Files and their hashes --------------------------------------------------------------------

/** SHA-256 of files by (path, inode, size, time), remembered in the cache folder between processes.
 */
typedef struct HashMemo {
    Arena arena;
    struct HashMemoEntry *slots; // open addressing by hash of the path
    size_t cap;
    size_t n;
    bool loaded;
    Str file; // "" : not kept
} HashMemo;

/** The mirror folder: every file with its size, sorted by size. Walked on first use. */
typedef struct MirrorFile {
    uint64_t bytes;
    Str path;
} MirrorFile;

typedef struct Mirror {
    MirrorFile *files;
    size_t n;
    bool walked;
} Mirror;

// ---- Datasets ----------------------------------------------------------------------------------

/** One file of a split as written; path may hold {part}. */
typedef struct SplitFile {
    Str path;
    Str at;
    const Str *columns;
    size_t n_columns;
    Str format; // "" : by the path's extension
} SplitFile;

typedef struct Split {
    Str name;
    const SplitFile *files;
    size_t n_files;
} Split;

typedef struct NamedPath {
    Str name;
    Str path; // may hold {part}
} NamedPath;

typedef struct Dataset {
    Str name;
    Str file; // its YAML
    Str dir;  // of file
    Str description;
    const Str *parts;
    size_t n_parts;
    const Split *splits;
    size_t n_splits;
    const NamedPath *texts;
    size_t n_texts;
    RegistryFiles files; // n_files 0: the files lie beside the YAML
} Dataset;

// ---- Rows --------------------------------------------------------------------------------------

typedef enum RowFormat {
    ROW_JSONL,
    ROW_JSON,
    ROW_CSV,
    ROW_TSV,
} RowFormat;

/** What to open as rows. */
typedef struct RowFileSpec {
    Str path;   // on disk
    Str label;  // for messages: as the dataset or eval calls it
    Str format; // "" : by extension
    Str at;
    const Str *columns;
    size_t n_columns;
} RowFileSpec;

typedef struct RowFile RowFile;

/** Rows of one or several files, or rows written in the eval. Holds places, not rows. */
typedef struct Rows {
    Str key; // what it was opened as, for sharing
    int refs;
    RowFile *files;
    size_t n_files;
    const Value *inline_rows; // a list, or NULL
    size_t n;
    Hash hash; // of the bytes used and how they are read
    struct Rows *next;
} Rows;

/** The word after the last dot of a path, without .gz: "jsonl". */
Str format_of_path(Str path);
bool rows_open_files(Registry *registry, const RowFileSpec *specs, size_t n, Rows **out, Err *err);
Rows *rows_of_list(const Value *list);
void rows_release(Registry *registry, Rows *rows);
/** Row number index as a map, in arena (inline rows are borrowed). fails with file, row and line.
 */
bool rows_get(const Rows *rows, size_t index, Arena *arena, Value *out, Err *err);
/** Where a row stands, for messages: "test.jsonl: row 12". */
Str rows_place(const Rows *rows, size_t index, Arena *arena);

// ---- Templates ready to render -----------------------------------------------------------------

typedef enum TmplKind {
    TMPL_CONSTANT, // nothing to render
    TMPL_NAME,     // exactly one {{ name }}: looked up without Lua where the scope has it
    TMPL_UNIT,     // rendered by script
    TMPL_LIST,
    TMPL_MAP,
} TmplKind;

/** A value of the eval file whose texts are templates. */
typedef struct Tmpl {
    TmplKind kind;
    Value constant;     // TMPL_CONSTANT
    Str name;           // TMPL_NAME: the variable
    Str unit;           // TMPL_NAME, TMPL_UNIT: name of the script unit
    struct Tmpl *items; // TMPL_LIST, TMPL_MAP
    Str *keys;          // TMPL_MAP
    size_t n;
    uint32_t line; // in the eval file
} Tmpl;

/** Collects the script units of a program while templates are built. */
typedef struct TmplBuilder {
    Arena *arena;
    Str file;
    ScriptUnit *units;
    const Value **texts; // where each unit's text stands; NULL for Lua
    size_t n;
    size_t cap;
} TmplBuilder;

void tmpl_builder_push(TmplBuilder *builder, const ScriptUnit *unit, const Value *text);
/** A template's unit with its place in the file. */
ScriptUnit tmpl_unit_of(Str file, Str name, const Value *text);
Tmpl tmpl_build(TmplBuilder *builder, Str unit, const Value *value);

/** A variable of a session. */
typedef struct TmplVar {
    Str name;
    Value value;
} TmplVar;

/** One row being rendered. A Lua session starts only when a template needs it. */
typedef struct TmplSession {
    Script *script;
    Program *program;
    const Value *constants; // map: what the program's image holds
    const Str *needed;      // names that the program's templates read
    size_t n_needed;
    const Value *row; // columns, or NULL
    int64_t row_number;
    bool with_row;    // `row` and `row_number` are visible
    TmplVar vars[10]; // set later; they hide columns
    size_t n_vars;
    uint64_t seed;
    Str where;
    Arena *arena;
    bool begun;
} TmplSession;

bool tmpl_session_set(TmplSession *session, Str name, Value value, Err *err);
bool tmpl_render(TmplSession *session, const Tmpl *tmpl, Value *out, Err *err);

// ---- An eval's messages ------------------------------------------------------------------------

/** One item of `messages`: a message, an expression, or a loop. */
typedef struct MessageTmpl {
    Str role;     // a message when set
    Tmpl content; // or the expression
    Tmpl name;
    bool has_name;
    Tmpl extra; // tool_calls, tool_call_id, when has_extra
    bool has_extra;
    Tmpl each; // a loop when items is set
    Str as;
    struct MessageTmpl *items;
    size_t n_items;
} MessageTmpl;

typedef struct MessagesTmpl {
    MessageTmpl *items;
    size_t n;
} MessagesTmpl;

MessagesTmpl messages_build(TmplBuilder *builder, Str unit, const Value *list);
/** As a list of maps {role, content, ...}. */
bool messages_render(TmplSession *session, const MessagesTmpl *messages, Value *out, Err *err);
bool messages_of_value(Arena *arena, const Value *list, const Message **out, size_t *out_n,
                       Err *err);

// ---- Tasks -------------------------------------------------------------------------------------

/** The templates of one eval x variant, for one program. */
typedef struct SampleTmpl {
    Tmpl id;
    bool has_id;
    Tmpl input; // when it is not a list of messages
    MessagesTmpl input_messages;
    bool input_is_messages;
    Tmpl choices;
    bool has_choices;
    Tmpl target;
    bool has_target;
    Tmpl metadata;
    bool has_metadata;
    Tmpl cluster;
    bool has_cluster;
    Tmpl files;
    bool has_files;
    Tmpl prompt;
    bool has_prompt;
    MessagesTmpl messages;
    bool has_messages;
} SampleTmpl;

/** The scored rows of one part: shared by the variants. */
typedef struct PartRows {
    Arena arena;
    const Eval *eval;
    Str part;
    int refs;
    Rows *rows;
    uint32_t *kept; // row numbers after `where`, or NULL: all
    size_t n;
    Hash hash;
    Str dataset_part;
    Value texts; // of text('name')
    struct PartRows *next;
} PartRows;

/** A program that several tasks use. */
typedef struct SharedProgram {
    Arena arena; // of the key
    Str key;
    int refs;
    Program *program;
    struct SharedProgram *next;
} SharedProgram;

struct TaskData {
    Arena arena; // of the task
    PartRows *part;
    Program *program; // renders rows
    SampleTmpl tmpl;
    Value constants;
    Str *needed;
    size_t n_needed;
    uint64_t seed;
    // Shots: the first n_shots of shot_items, leaving out the sample's own row when leave_own.
    const Value *shot_items;
    const int64_t *shot_rows;
    size_t n_shot_items;
    size_t n_shots;
    bool leave_own;
    Str shot_fault; // the first field of a shot that could not be rendered, "" : none
    SharedProgram *solver;
    SharedProgram *graders;
};

/** Build the templates of an eval x variant into units. */
void sample_tmpl_build(TmplBuilder *builder, const Eval *eval, const EvalVariant *variant,
                       SampleTmpl *out);

/** Choices, then targets, of a rendered value into *out; see DESIGN.md 4.1. */
bool sample_choices(Arena *arena, const Value *value, const Choice **out, size_t *out_n, Err *err);
bool sample_targets(Arena *arena, const Value *value, Sample *out, Err *err);
/** Everything of a sample but id and prompt; choices also as the prompt sees them. */
bool sample_fields_render(TmplSession *session, const SampleTmpl *tmpl, Sample *out,
                          Value *out_choices, Err *err);
/** A session of a task's templates for one row. */
void task_session_init(Registry *registry, const Task *task, Program *program, int64_t row_number,
                       const Value *row, Arena *arena, TmplSession *out);
int64_t task_row_number(const Task *task, size_t index);
/** H64 of what ctx.rng() may depend on in templates: the same for every model and variant. */
uint64_t task_render_seed(const Task *task, Str id);
/** Choose and render the shots of a task whose rows are open; data->constants without them. */
bool task_shots_open(Registry *registry, Task *task, Err *err);
/** The shots of a sample whose own row is among the task's; false: it gets the task's as they are.
 */
bool task_shots_of(const Task *task, int64_t row_number, Arena *arena, Value *out);
/** Add to the message about a name that is not there why a shot lacks a field; returns false. */
bool task_shots_explain(const Task *task, Err *err);

// ---- The registry ------------------------------------------------------------------------------

/** A solver, grader or metric found by name, with what it declares. */
typedef struct LuaUnit {
    UnitKind kind;
    Str name;
    Str file;
    Str text;
    UnitInfo info;
    bool examples_run; // and told
    struct LuaUnit *next;
} LuaUnit;

typedef struct DatasetEntry {
    Dataset dataset;
    struct DatasetEntry *next;
} DatasetEntry;

struct Registry {
    Arena arena;
    Script *script;
    Str *paths;
    size_t n_paths;
    Str cache_dir;
    Str mirror_dir;
    HashMemo memo;
    Mirror mirror;
    LuaUnit *units;
    DatasetEntry *datasets;
    Rows *rows;
    PartRows *parts;
    SharedProgram *programs;
};

/** Folder of a kind below a registry path: "evals". */
const char *registry_kind_dir(RegistryKind kind);
/** The file of a name, sought in all registry paths; false: there is none. */
bool registry_find(Registry *registry, RegistryKind kind, Str name, Arena *arena, Str *out);
/** All names of a kind, for did-you-mean; sorted within each path. */
void registry_names(Registry *registry, RegistryKind kind, Arena *arena, Str **out, size_t *out_n);
/** "no eval 'x'; did you mean 'y'?" */
bool registry_not_found(Registry *registry, RegistryKind kind, const char *what, Str name,
                        Err *err);
/** Read and parse a YAML file. false: faults say why, or *err when it can not be read. */
bool registry_yaml(Registry *registry, Str file, Faults *faults, Value *out, Err *err);
/** The first error of faults as an Err: "file:line:col: message (and 2 more)". */
bool registry_faults_err(const Faults *faults, Err *err);
/** Put the faults from number `from` on in the order of their places. */
void registry_faults_sort(Faults *faults, size_t from);
/** Whether `schema` is one that this program knows; a fault when not. */
void registry_schema_version(const Value *root, Str file, Faults *faults);

/**
 * A solver, grader or metric by name: beside the eval (metrics: in metrics/ beside it), in the
 * folder of its kind next to the registry paths, compiled in.
 * fails  ERR_NOT_FOUND when no file has this name; else the file's own fault. */
bool registry_unit(Registry *registry, UnitKind kind, Str name, Str eval_dir, const LuaUnit **out,
                   Err *err);
/** Names of all solvers, graders or metrics in reach of an eval in dir ("" : none). */
void registry_unit_names(Registry *registry, UnitKind kind, Str eval_dir, Arena *arena, Str **out,
                         size_t *out_n);

bool eval_from_value(Registry *registry, Str file, const Value *root, Faults *faults, Eval *out);
bool dataset_from_value(Registry *registry, Str file, const Value *root, Faults *faults,
                        Dataset *out);
bool model_from_value(Registry *registry, Str file, const Value *root, Faults *faults,
                      RegistryFiles *out_files, Model *out);
bool gate_from_value(Str file, const Value *root, Faults *faults);
/**
 * Checks that look across keys, at templates and Lua: eval_check.c.
 * whole  the eval was read without faults: its templates may be built. */
void eval_check(Registry *registry, const Eval *eval, bool whole, Faults *faults);
/** That the evals which a gate names exist, and have the metrics it bounds. */
void gate_check_evals(Registry *registry, Str file, const Value *root, Faults *faults);
/** Files of a `sources` list; bases are URLs that a source's path is appended to. */
void sources_from_value(Registry *registry, const Value *sources, const Value *bases,
                        RegistryFiles *out);

bool registry_dataset(Registry *registry, Str name, const Dataset **out, Err *err);
/** A path of a dataset on this disk. fails ERR_NOT_FOUND: not pulled, or no such file. */
bool dataset_locate(Registry *registry, const Dataset *dataset, Str path, Str *out, Err *err);
const Split *dataset_split(const Dataset *dataset, Str name);
/** path with {part} replaced. */
Str dataset_path_of(Arena *arena, Str path, Str part);
/** A file that an eval names: beside it, then in the mirror. */
bool eval_file_locate(Registry *registry, const Eval *eval, Str path, Str *out);

/** Hash of a file, remembered by its identity on disk. */
bool files_hash(Registry *registry, Str path, Hash *out, Err *err);
void files_memo_finish(HashMemo *memo);
/** Where a file belongs in the cache. */
Str files_cache_path(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                     Arena *arena);
bool files_in_cache(Registry *registry, const RegistryFiles *files, const RegistryFile *file,
                    Str *out_path);
bool files_in_mirror(Registry *registry, const RegistryFile *file, Str *out_path);

/** The variables of a matrix cell, its name; cells of registry_parts. */
typedef struct MatrixCell {
    Str name;
    Value vars;
} MatrixCell;
bool matrix_cells(Registry *registry, const Eval *eval, Arena *arena, MatrixCell **out,
                  size_t *out_n, Err *err);

/** Rows of a part, opened once and shared by the variants. */
bool part_rows_open(Registry *registry, const Eval *eval, const MatrixCell *cell, PartRows **out,
                    Err *err);
void part_rows_release(Registry *registry, PartRows *part);
/** Constants of a program: the cell's variables, texts, shots (or NULL). */
Value part_constants(Arena *arena, const Value *vars, const Value *texts, const Value *shots);
/** Name of the scored split: as given, the only one, or test. */
Str eval_split_name(const Eval *eval, const Dataset *dataset);
bool split_rows_open(Registry *registry, const Dataset *dataset, Str split_name, Str part,
                     Rows **out, Err *err);
/** A file that the eval names; main_file: with the dataset's `at` and `columns`. */
bool path_rows_open(Registry *registry, const Eval *eval, Str path, bool main_file, Rows **out,
                    Err *err);
/**
 * The first at_most rows that `where` keeps.
 * owns   *out_kept is freed with mem_free; NULL when there is no `where`: all rows. */
bool where_apply(Registry *registry, const Eval *eval, const Value *constants, const Rows *rows,
                 size_t at_most, uint32_t **out_kept, size_t *out_n, Err *err);
/** The eval's helpers as a unit of a program, when it has any. */
bool helpers_push(Registry *registry, const Eval *eval, TmplBuilder *builder, Err *err);
/** Names of the functions in the eval's helpers; none when there are none, or they do not load. */
void helpers_names(Registry *registry, const Eval *eval, Arena *arena, const Str **out,
                   size_t *out_n);
/**
 * The words of a program's templates that may be names they read from their scope: a few more than
 * those, never fewer. (Exact names need compiling, and helpers' filters are not known to that.) */
void words_of_units(const TmplBuilder *builder, Arena *arena, Str **out, size_t *out_n);

/** Turn an Err into a fault: at the place of file that its message names, else at a value's. */
void fault_of_err(Faults *faults, Str file, const Value *at, const char *code, const Err *err);
