// SPDX-License-Identifier: MIT
// What the files of this room share. A Vm is one Lua state in one region of memory; an Image is a
// byte copy of the region's used prefix, taken when the state was freshly loaded, so that a call
// starts with a memcpy and ends by forgetting. Rules that everything here keeps:
// - Lua code runs only below vm_run, which holds the jump target for scripts that break a budget.
// - No host memory is owned across a call into Lua except by the Vm, the Script or a caller's
// arena:
//   an abandoned script unwinds nothing.
// - C functions that Lua calls charge the budget for their loops (vm_charge).
#pragma once

#include "base/embedded.h"
#include "script/script.h"
#include "text/text.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <setjmp.h>

#define VM_DEPTH_MAX      64         // nesting of values that cross the border
#define VM_NODES_MAX      (1 << 20)  // members of one value that crosses the border
#define VM_STRING_MAX     (16 << 20) // bytes of one string that a library call makes
#define VM_NOTES_MAX      (64 << 10)
#define VM_TICK           1000    // VM instructions between two looks at the budget
#define VM_TICK_FINE      16      // once big blocks are about, C loops over them are slow
#define VM_COROUTINE_COST VM_TICK // a fresh coroutine starts a fresh count
#define VM_LINKS_MAX      4096
#define VM_MESSAGE_MAX    1600
#define VM_SOURCE_MAX     (1 << 20) // bytes of one source text

/** Fixed integer keys of the Lua registry. */
typedef enum VmSlot {
    SLOT_FIRST = 8, // Lua itself and lauxlib use the first few
    SLOT_VALUE,     // library `value`, for trusted code
    SLOT_TEXT,      // the text library
    SLOT_DECLARED,  // metatable of one_of{}, required(), template()
    SLOT_DEFERRED,  // metatable of templates inside of values
    SLOT_UNSCORED,  // metatable of unscored()
    SLOT_SAMPLE_MT, // metatables of objects that fill themselves on first use
    SLOT_REPLY_MT,
    SLOT_VARS_MT,
    SLOT_SOLVER_CTX,
    SLOT_GRADER_CTX,
    SLOT_RENDER_CTX,
    SLOT_JINJA,    // J of the Jinja runtime, nil when the image has no templates
    SLOT_VARS,     // the variables of a rendering session
    SLOT_COMPILE,  // jinja.compile, in the compiler's image
    SLOT_RENDERED, // functions of templates compiled by ctx.render in this call, by text
    SLOT_UNITS,    // unit n has SLOT_UNITS + UNIT_SLOTS * n ...; see UnitSlot
} VmSlot;

/** What a unit keeps in the registry, at SLOT_UNITS + UNIT_SLOTS * its number. */
typedef enum UnitSlot {
    UNIT_SLOT_CALL,      // the template's function, solve or grade
    UNIT_SLOT_PARAMS,    // params with defaults filled in
    UNIT_SLOT_TEMPLATES, // list of {name, function} of params that are templates; or nil
    UNIT_SLOT_WHEN,      // function of the template `when`, or nil
    UNIT_SLOT_TARGET,    // what replaces the sample's target, with its templates; or nil
    UNIT_SLOT_FILE,      // a library grader's table, or nil
    UNIT_SLOTS,
} UnitSlot;

/** Bytes [from, to) of a region. */
typedef struct HeapSpan {
    size_t from;
    size_t to;
} HeapSpan;

/** A byte copy of a loaded state: the hot zone's prefix, and a stretch of the cold zone (heap.c).
 */
typedef struct Image {
    uint8_t *bytes;
    size_t len;
    HeapSpan *spans; // of the prefix without its larger holes: what a restore copies
    size_t n_spans;
    uint8_t *cold;
    size_t cold_from; // offset in the region
    size_t cold_len;
    const struct Image *base; // whose cold stretch this one needs too, or NULL
} Image;

/** Why control came back by longjmp; the state is lost then. */
typedef enum Escape {
    ESCAPE_NONE,
    ESCAPE_INSTRUCTIONS,
    ESCAPE_DEADLINE,
    ESCAPE_MEMORY,
    ESCAPE_EFFECT, // an effect that the log does not answer
    ESCAPE_PANIC,  // an error outside protection: our own bug
} Escape;

typedef struct Heap Heap;
typedef struct Step Step;

typedef struct Vm {
    uint8_t *base; // the region: a Heap, then its blocks; it never moves
    size_t bytes;
    size_t hot_bytes; // where the cold zone starts
    lua_State *L;
    const Image *live; // whose state the region holds and may go on; NULL: nothing usable
    Script *script;
    const Program *program; // of the rendering session
    Step *step;             // what ctx works on, NULL outside solvers and graders
    uint64_t rng_seed;      // ctx.rng draws from (seed, stream, position)
    uint64_t rng_stream;
    uint64_t rng_position;
    // Budget of the current call.
    uint64_t limit;
    uint64_t spent;
    uint64_t unchecked; // charged since the last look at the clock
    int64_t deadline_ns;
    uint32_t n_refused; // allocations refused, and in a row
    uint32_t n_refused_in_row;
    bool stack_moves; // Lua's stack is being resized: not to be asked where it is (heap.c)
    bool fine_ticks;
    bool collecting;     // the collector has been started; images come with it stopped
    size_t collect_from; // bytes in use that start it
    // The cold zone: whose stretches lie there now, and whether they may have been written to.
    const Image *cold_own;
    const Image *cold_base;
    bool cold_dirty;
    const Image *build_base; // whose cold stretch the image in the making shares, or NULL
    bool building;           // an image is being made: loaded code goes to the cold zone
    bool loading;
    size_t links[VM_LINKS_MAX]; // offsets of links to forget
    size_t n_links;
    size_t cold_floor; // below it nothing is given back: it belongs to cold_base
    // Where an abandoned script goes, and what it was doing.
    jmp_buf escape;
    char message[VM_MESSAGE_MAX];
    char main_place[160]; // "file:line" of the function called last, for errors after its return
    char refused_at[160]; // where memory was refused last: Lua calls no handler when it runs out
    // Host memory that library calls may use until their next use.
    Arena scratch;
    Buf buf;
    Buf notes;
} Vm;

// ---- heap.c: the allocator inside the region ----------------------------------------------------

/** Make an empty heap at vm->base. */
void heap_init(Vm *vm);
void *heap_realloc(void *vm, void *block, size_t old_bytes, size_t new_bytes); // a lua_Alloc
/** Bytes from the region's start that an image has to hold. */
size_t heap_used(const Vm *vm);
/** The most that was in use since the last vm_restore, in bytes from the region's start. */
size_t heap_peak(const Vm *vm);
/** End of what was handed out in the cold zone, from the region's start. */
size_t heap_cold_used(const Vm *vm);
/** Clear what the last collection left in the functions of a base image (heap.c). */
void heap_forget_links(Vm *vm);
/** The free blocks of more than 1 KiB in the hot zone, but for the links between them; their
 * number. */
size_t heap_holes(const Vm *vm, HeapSpan *out, size_t cap);
/** Go on handing out from that offset of the cold zone. */
void heap_cold_skip(Vm *vm, size_t offset);

/** The budget of every call, defaults filled in. */
const ScriptBudget *script_budget(const Script *script);
struct RegexCache *script_regexes(Script *script);
struct SchemaCache *script_schemas(Script *script);

// ---- vm.c ---------------------------------------------------------------------------------------

/** Reserve a region; no state yet. */
bool vm_create(Script *script, size_t bytes, Vm **out, Err *err);
void vm_destroy(Vm *vm);
/** Make a fresh Lua state with the libraries of units in it. */
bool vm_build(Vm *vm, Err *err);
/**
 * Load source as Lua text under a chunk name made of file (or of name when file is empty), with a
 * fresh environment that sees the globals unless trusted. Pushes the function; raises on an error.
 */
void vm_load(lua_State *L, Str source, Str file, Str name, bool trusted);
/** Load code that this process dumped itself. Pushes the function; raises. */
void vm_load_code(lua_State *L, Str code, const char *name, bool trusted);
/** Begin an image on top of a restored base (NULL: on a state that was just built). */
void vm_building(Vm *vm, const Image *base);
/** The region as it is now, after a full collection; the state is not to be used on. */
void vm_snapshot(Vm *vm, Image *out);
/** Free an image; the region forgets that it holds parts of it. */
void image_finish(Vm *vm, Image *image);
/** Start a call: the image's bytes, a full budget, empty scratch. */
void vm_restore(Vm *vm, const Image *image);
/**
 * Run body(L) with arg as its light userdata argument, under the budget that vm_restore started.
 * fails  ERR_SCRIPT with file:line for a Lua error; ERR_BUDGET, and the state is lost.
 * returns true also when an effect ended the body: *out_escape tells (NULL: effects are a bug). */
bool vm_run(Vm *vm, lua_CFunction body, void *arg, Escape *out_escape, Err *err);

static inline Vm *vm_of(lua_State *L)
{
    return *(Vm **)lua_getextraspace(L);
}

static inline void vm_push_slot(lua_State *L, int slot)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, slot);
}

static inline void vm_set_slot(lua_State *L, int slot) // pops
{
    lua_rawseti(L, LUA_REGISTRYINDEX, slot);
}

/**
 * As lua_pushcclosure for a function that changes its own upvalues: an image has to hold it where a
 * restore undoes that (heap.c). */
static inline void vm_push_iterator(lua_State *L, lua_CFunction function, int n_upvalues)
{
    Vm *vm = vm_of(L);
    bool building = vm->building;
    vm->building = false;
    lua_pushcclosure(L, function, n_upvalues);
    vm->building = building;
}

static inline int unit_slot(size_t unit, UnitSlot slot)
{
    return (int)SLOT_UNITS + (int)unit * (int)UNIT_SLOTS + (int)slot;
}

static inline void vm_push_str(lua_State *L, Str s)
{
    lua_pushlstring(L, s.data == NULL ? "" : s.data, s.len);
}

/** The string at index (it must be one); borrowed while it stays on the stack or in a table. */
static inline Str vm_str(lua_State *L, int index)
{
    Str s;
    s.data = lua_tolstring(L, index, &s.len);
    return s;
}

// ---- budget.c -----------------------------------------------------------------------------------

void vm_budget_start(Vm *vm);
/** A budget for code of our own, whatever the user's is. */
void vm_budget_own(Vm *vm);
/** Install the count hook on a state; new coroutines inherit it. */
void vm_hook_install(lua_State *L);
/** Leave the script for good. */
_Noreturn void vm_abandon(Vm *vm, lua_State *L, Escape why);
/** Count the work of a C loop, in VM instructions; may not return. */
void vm_charge(lua_State *L, uint64_t instructions);
/** Look at the clock now; may not return. */
void vm_check_deadline(Vm *vm, lua_State *L);
/** "file:line, called from file:line" of the running functions into out. */
void vm_where(lua_State *L, int level, char *out, size_t cap);
/** Remember the place of the Lua function at the top of the stack as main_place. */
void vm_note_place(lua_State *L);
/** Message handler: puts the error and its place into vm->message. */
int vm_on_error(lua_State *L);

// ---- convert.c: values across the border (VALUES.md) --------------------------------------------

void vm_push_null(lua_State *L);
bool vm_is_null(lua_State *L, int index);
void vm_push_value(lua_State *L, const Value *value);
/** Convert what is at index; raises a Lua error for what has no Value. Charges the budget. */
Value vm_to_value(lua_State *L, int index, Arena *arena);
/** As vm_to_value for text members: a string or raises "what must be text". */
Str vm_to_text(lua_State *L, int index, Arena *arena, const char *what);
/** Whether the table at index is a list. */
bool vm_is_list(lua_State *L, int index);
/** Push a new array of the table's keys in their order; its length. */
size_t vm_push_keys(lua_State *L, int index);
/** Hidden key of a metatable's function that vm_fill calls. */
extern const char vm_fill_key;
/** Let an object that fills itself on first use fill itself now. */
void vm_fill(lua_State *L, int index);
int lib_value_open(lua_State *L); // pushes the library `value`

// ---- Libraries: each leaves its table on the stack ----------------------------------------------

/** Leaves the globals on the stack; what only trusted code may use goes to the table at trusted. */
void lib_base_open(lua_State *L, int trusted);
int lib_string_open(lua_State *L); // the string table, also that of the metatable
int lib_table_open(lua_State *L);
int lib_text_open(lua_State *L);
int lib_json_open(lua_State *L);
int json_validate(lua_State *L); // lib_schema.c
typedef struct SchemaCache SchemaCache;
SchemaCache *schema_cache_create(void);
void schema_cache_destroy(SchemaCache *cache);
void lib_string_arithmetic(lua_State *L); // into the metatable at the top
int pattern_find(lua_State *L);
int pattern_match(lua_State *L);
int pattern_gmatch(lua_State *L);
int pattern_gsub(lua_State *L);
/** tostring without addresses: pushes text for the value at index. */
void lib_push_tostring(lua_State *L, int index);
/** Refuse to change a library's table (raises). */
void lib_check_writable(lua_State *L, int index);

// ---- objects.c, replies.c: samples, replies and template variables that fill themselves on first
// use
// --------

void objects_open(lua_State *L); // makes their metatables

/** Pushes one field; a field the object lacks is nil. */
typedef void PushField(lua_State *L, const void *view);

typedef struct Field {
    const char *name;
    PushField *push;
} Field;

extern const Field reply_fields[]; // ends in a NULL name
void reply_push_answer(lua_State *L, const void *view);

/** What a sample object shows. */
typedef struct SampleView {
    const Sample *sample;
    int64_t epoch;
    bool shows_prompt;
    bool shows_target;
} SampleView;

/** What a reply object shows. */
typedef struct ReplyView {
    const Reply *reply;
    const Sample *sample; // names the choices; NULL: `texts` does
    const Str *texts;
    const Message *messages; // the conversation without the reply; NULL: the sample's
    size_t n_messages;
    Str answer;
    bool has_answer;
    int64_t n_calls;
} ReplyView;

/** Views must live as long as the object. */
void push_sample(lua_State *L, const SampleView *view);
void push_reply(lua_State *L, const ReplyView *view);
/** The view behind a reply object, or NULL for any other value. */
const ReplyView *reply_view(lua_State *L, int index);
void push_messages(lua_State *L, const Message *messages, size_t n);
/** Read a list of messages; raises. */
Message *read_messages(lua_State *L, int index, Arena *arena, size_t *out_n);

/** What templates of solver and grader params see. */
typedef struct VarsView {
    const StepInput *in;
    const Sample *sample;   // in's, or the same with the grader's own target
    const ReplyView *reply; // graders
} VarsView;

void push_vars(lua_State *L, const VarsView *view);

// ---- ctx.c, effect.c, fork.c: ctx -------------------------------------------------------------

void effects_open(lua_State *L); // makes the ctx objects

/** What calls so far have spent; a part of the state that ctx.all forks. */
typedef struct Spent {
    int64_t turns;
    int64_t tokens;
    double seconds;
    double cost_usd;
    int64_t calls;
} Spent;

typedef struct Grading Grading;         // grade.c
typedef struct GraderFrame GraderFrame; // grade.c

/** What the unit that runs may ask for, and of whom. */
typedef struct Asking {
    Str role; // whom its calls ask by default
    bool may_generate;
    bool may_loglik;
    bool may_grade;
    int depth;                // of ctx.grade
    const GraderFrame *frame; // the grader that runs, NULL in a solver
} Asking;

/** One run of a solver or of graders over its log. */
struct Step {
    Script *script;
    const StepInput *in;
    Arena *arena;
    size_t arena_limit;   // bytes that the arena may hold
    GenSettings settings; // defaults of ctx.generate
    Asking asking;
    Grading *grading;    // NULL in a solver
    const Score *scores; // of the eval's graders, in its order
    const bool *scored;  // which of them have run
    size_t n_scores;
    char prefix[64]; // of call paths: "", "2.", "g0."
    int64_t next_index;
    Spent spent;
    Usage usage; // of all calls
    size_t log_hint;
    size_t n_waiting; // effects that lack a reply, in flight or new
    Effect *effects;  // new ones
    size_t n_effects;
    size_t cap_effects;
    bool converting; // a request, into arena from mark on; nothing else was put there since
    ArenaMark mark;
    jmp_buf *branch; // where an unanswered effect goes inside ctx.all
};

void step_init(Step *step, Script *script, const StepInput *in, Arena *arena);
/** The step that runs; raises in a template, naming ctx.what. */
Step *step_check(lua_State *L, const char *what);
/** Nothing in the log answers: leave the branch of ctx.all, or the script. */
_Noreturn void step_wait(lua_State *L, Step *step);
int ctx_generate(lua_State *L);
int ctx_loglik(lua_State *L);
int ctx_all(lua_State *L);
int ctx_grade(lua_State *L);

/** Where a step stands, to go on from after a part that counts for itself (fork.c). */
typedef struct Fork {
    char prefix[64];
    int64_t next_index;
    uint64_t rng_stream;
    uint64_t rng_position;
    Spent spent;
    jmp_buf *branch;
    Asking asking;
} Fork;

Fork fork_save(const Vm *vm);
void fork_restore(Vm *vm, const Fork *fork);
/** Enter part `number` of what was saved: its own call paths and randomness. */
void fork_enter(lua_State *L, const Fork *outer, int64_t number);
/** Fill in what a finished or waiting step leaves; the state is lost. */
void step_output_end(const Step *step, Escape escape, StepOutput *out);
/** Whether the solver's result carries messages of its own making. */
bool reply_kept_messages(lua_State *L, int index);

// ---- template.c ---------------------------------------------------------------------------------

/** One template to compile. */
typedef struct TemplateSource {
    Str text;
    Str name;
    Str file; // "" where only the name is known
    uint32_t line;
    uint16_t indent;
    bool lenient;
    bool force_text;
    const Str *helpers; // names of functions and filters beside the built-in ones
    size_t n_helpers;
} TemplateSource;

/** A template compiled to Lua. */
typedef struct Template {
    Str lua;
    const Str *names; // read from the scope
    size_t n_names;
} Template;

typedef struct TemplateCache TemplateCache;
TemplateCache *template_cache_create(void);
void template_cache_destroy(TemplateCache *cache);
/** Compile in the compiler's own state, or take it from the cache; borrowed until the next call. */
bool template_compile(Script *script, const TemplateSource *source, const Template **out, Err *err);
/** Load a compiled template into the state: pushes function(vars); raises. */
void template_load(lua_State *L, const TemplateSource *source, Str lua);
/** Push function(vars) of a template that turned up in this call; raises. */
void template_push_late(lua_State *L, Str text, Str name);
/** ctx.render(template, vars). */
int template_render_now(lua_State *L);

// ---- script.c: the Script -----------------------------------------------------------------------

Vm *script_vm(Script *script);
/** Image of a fresh state with libraries, with the Jinja runtime when templates are wanted. */
bool script_base_image(Script *script, bool with_jinja, const Image **out, Err *err);
/** The compiler's state, ready for a call. */
bool script_compiler(Script *script, Vm **out, Err *err);
/** Of the compiler and the runtime: the same templates mean the same while it is the same. */
Hash script_lua_hash(Script *script);
/** Load the Jinja runtime into the state. */
void script_load_jinja(lua_State *L);
extern const EmbeddedFile script_lua[]; // the compiler and the runtime
TemplateCache *script_templates(Script *script);

// ---- program.c ----------------------------------------------------------------------------------

/** What a unit declared and what its templates became. */
typedef struct Unit {
    ScriptUnit source; // owned copy
    UnitInfo info;     // solvers and graders
    Value params;      // with defaults
    bool needs_choices;
    bool needs_target;
    bool needs_logprobs;
    bool needs_loglik;
    bool needs_sandbox;
    bool may_generate;
    bool may_loglik;
    bool may_grade;
    Buf code;      // library graders: dumped when first used
    bool was_read; // library graders: info is there
    size_t number; // graders: position among the eval's
    size_t n_after;
    size_t *after; // units that run before it
} Unit;

struct Program {
    Arena arena;
    Unit *units;
    size_t n_units;
    Value constants;
    size_t *order; // units of graders as they run; n_graders of them
    size_t n_graders;
    const Str *helpers; // names
    size_t n_helpers;
    Image render; // templates and helpers
    Image solve;
    Image grade;
    Hash hash;
    Hash units_hash; // without the constants
};

/** Index of a unit by kind and name (empty: the first of that kind), or STR_NONE. */
size_t program_find(const Program *program, UnitKind kind, Str name);
/** A unit's index is that of program->units; push what it keeps. */
static inline void unit_push(lua_State *L, size_t unit, UnitSlot slot)
{
    vm_push_slot(L, unit_slot(unit, slot));
}
/** What its needs and effects say. */
void unit_flags(Unit *unit);
/** Set the params of a unit that are templates, for this sample; params table and vars at indices.
 */
void unit_render_params(lua_State *L, size_t unit, int params, int vars);

// ---- build.c ------------------------------------------------------------------------------------

/** Build the image of all units of a group, helpers first; none of them: no image. */
bool program_build_image(Script *script, Program *program, UnitKind group, Image *out, Err *err);

// ---- order.c ------------------------------------------------------------------------------------

/** Find out which graders wait for which, and in what order they run. fails ERR_CONFIG. */
bool program_order(Program *program, Err *err);

// ---- library.c: ctx.grade -----------------------------------------------------------------------

/** Load a library grader into the state unless it is there; raises. */
void library_load(lua_State *L, Program *program, size_t unit);
/**
 * Push a library grader's params: the members of the table at `given` that are no common keys of
 * graders, with its `params`, checked, with their templates rendered with vars; raises. */
void library_params(lua_State *L, const Unit *unit, int given, int vars, Arena *arena);
/** Whether an item of a grader's `uses` has this key for itself; other keys are params. */
bool library_common_key(Str key);
/** Load the library graders that a grader's literal list names; check what it gives them. */
bool library_check_uses(Script *script, Program *program, const Unit *unit, Err *err);
/** Error for a library grader that is not there, with what could have been meant. */
Str library_unknown(const Program *program, Str name, Arena *arena);

// ---- params.c -----------------------------------------------------------------------------------

/** Whether a list of words that ends in NULL has a word. */
bool words_have(const char *const *words, Str word);
/** " (did you mean 'x'?)" of such a list, or "". */
Str words_hint(Arena *arena, Str word, const char *const *words);
/** Read a solver's or grader's table at index; raises for a wrong declaration. */
void unit_read(lua_State *L, int index, UnitKind kind, Arena *arena, UnitInfo *out);
/** Fill in what the table declares as a function of the params at index `params`; raises. */
void unit_read_for(lua_State *L, int index, int params, Arena *arena, UnitInfo *out);
/** "grader 'number', line 3, column 9: what", the place only where it is known. fails always */
bool unit_err(UnitKind kind, Str name, const Value *at, Str what, Err *err);
/** Check given params against the declarations: names and types. */
bool params_check(const UnitInfo *info, UnitKind kind, const Value *given, Arena *arena, Err *err);
/** Check given params against the declarations and fill in defaults. */
bool params_resolve(const UnitInfo *info, UnitKind kind, const Value *given, Arena *arena,
                    Value *out, Err *err);

// ---- deferred.c: templates inside of values ----------------------------------------------------

/** Whether rendering would change the text. */
bool text_is_template(Str text);
/**
 * Push a value with its texts compiled (as `how` says) where they are templates; what pushes them
 * is told apart from texts, so nothing that was rendered is rendered again. False: *err says why a
 * template does not compile, nothing is pushed. */
bool deferred_push(lua_State *L, const Value *value, const TemplateSource *how, Err *err);
/** Push what the template object at index gives for these variables, or false: it is none. */
bool deferred_render(lua_State *L, int index, int vars);
void deferred_open(lua_State *L);

// ---- target.c -----------------------------------------------------------------------------------

/**
 * The sample with the target at index (a text, a template object, a list of these) in place of its
 * own; raises when it is none. */
const Sample *target_replace(lua_State *L, int index, int vars, const Sample *sample, Arena *arena);

// ---- metric.c -----------------------------------------------------------------------------------

/** The metric that was called last. */
typedef struct MetricCache {
    Hash key; // of its file's name and text
    Image image;
    UnitInfo info;
    Arena arena;
} MetricCache;

MetricCache *script_metrics(Script *script);
void metric_cache_clear(Script *script);

// ---- answer.c -----------------------------------------------------------------------------------

/** Apply an answer rule to text. *out_found false: nothing matched. fails on a bad regex. */
bool answer_extract(Script *script, const AnswerRule *rule, Str text, Arena *arena, bool *out_found,
                    Str *out, Err *err);
