// SPDX-License-Identifier: MIT
// The bugs that were found, and failures on order. A bug in a kernel ends the launch and loses the
// device, as a GPU would; its words are kept for tests and said on stderr when nobody takes them.
#include "kernels/emulate/context.h"
#include "kernels/emulate/internal.h"

#include <deque>
#include <map>
#include <mutex>
#include <string>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static std::mutex lock;
static std::deque<std::string> *faults; // never destroyed: exit looks at it
static size_t n_taken;

static struct {
    uint64_t count;
    uint64_t fails_at; // 0 never
} failures[EMULATE_FAILURES];

static const char *const failure_names[EMULATE_FAILURES] = {
    "alloc", "host", "create", "launch", "kernel", "copy", "nccl", "blas", "graph"};

// ---- Faults -------------------------------------------------------------------------------------

static void at_exit(void)
{
    std::lock_guard<std::mutex> guard(lock);
    const char *wish = getenv("MUSTER_EMULATE_FAIL");
    for (int i = 0; wish != NULL && strcmp(wish, "count") == 0 && i < EMULATE_FAILURES; i++) {
        fprintf(stderr, "emulate: %s:%llu\n", failure_names[i],
                (unsigned long long)failures[i].count);
    }
    if (n_taken < faults->size()) {
        fflush(NULL);
        for (size_t i = n_taken; i < faults->size(); i++) {
            fprintf(stderr, "emulate: %s\n", (*faults)[i].c_str());
        }
        _exit(70);
    }
}

static void ready(void)
{
    if (faults == NULL) {
        faults = new std::deque<std::string>;
        atexit(at_exit);
    }
}

const char *fault_who(void)
{
    static char text[96];
    snprintf(text, sizeof(text), "block (%u,%u,%u) thread %u", emulate_now.block_x,
             emulate_now.block_y, emulate_now.block_z, emulate_now.thread_x);
    return text;
}

/** "file:line" of an instruction, by addr2line; else module and offset. */
static void place_ask(const void *instruction, char *out, size_t size)
{
    Dl_info info;
    if (dladdr(instruction, &info) == 0) {
        snprintf(out, size, "%p", instruction);
        return;
    }
    size_t offset = (size_t)((const char *)instruction - (const char *)info.dli_fbase);
    snprintf(out, size, "%s+0x%zx", info.dli_fname, offset);
    char command[600];
    // Without PIE addresses are those of the file.
    bool absolute = (uintptr_t)info.dli_fbase == 0x400000;
    snprintf(command, sizeof(command), "addr2line -i -e '%s' 0x%zx 2>/dev/null", info.dli_fname,
             absolute ? (size_t)(uintptr_t)instruction : offset);
    FILE *lines = strchr(info.dli_fname, '\'') == NULL ? popen(command, "r") : NULL;
    if (lines == NULL) {
        return;
    }
    char text[400];
    bool found = false;
    while (fgets(text, sizeof(text), lines) != NULL) { // what is inlined comes first
        text[strcspn(text, "\n(")] = '\0';
        if (!found && text[0] != '?' && strstr(text, "emulate/emulate.h") == NULL) {
            snprintf(out, size, "%s", text);
            found = true;
        }
    }
    pclose(lines);
}

/** The same, asked once. */
static void place_find(const void *instruction, char *out, size_t size)
{
    static std::map<const void *, std::string> *known;
    if (known == NULL) {
        known = new std::map<const void *, std::string>;
    }
    std::string &place = (*known)[instruction];
    if (place.empty()) {
        place_ask(instruction, out, size);
        place = out;
    }
    snprintf(out, size, "%s", place.c_str());
}

void fault_at(const void *instruction, const char *format, ...)
{
    static char place[400];
    place_find(instruction, place, sizeof(place));
    size_t n = strlen(place);
    while (n > 0 && place[n - 1] == ' ') {
        place[--n] = '\0';
    }
    char *colon = strrchr(place, ':');
    int line = colon != NULL ? atoi(colon + 1) : 0;
    if (colon != NULL) {
        *colon = '\0';
    }
    va_list args;
    va_start(args, format);
    fault_v(place, line, format, args);
    va_end(args);
}

void fault_v(const char *file, int line, const char *format, va_list args)
{
    char text[2048];
    const Launch *now = &emulate_current;
    bool inside = launch_inside();
    if (file == NULL && inside) {
        file = now->place.file;
        line = now->place.line;
    }
    size_t at = 0;
    if (file != NULL) {
        at = (size_t)snprintf(text, sizeof(text), "%s:%d: ", file, line);
    }
    if (at < sizeof(text)) {
        vsnprintf(text + at, sizeof(text) - at, format, args);
    }
    {
        std::lock_guard<std::mutex> guard(lock);
        ready();
        faults->push_back(text);
        if (inside) {
            faults->back() += std::string(" [") + now->name + "]";
        }
    }
    if (inside) {
        launch_abandon();
    }
}

void fault(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fault_v(file, line, format, args);
    va_end(args);
}

const char *fault_last(void)
{
    std::lock_guard<std::mutex> guard(lock);
    return faults != NULL && !faults->empty() ? faults->back().c_str() : NULL;
}

const char *emulate_take_fault(void)
{
    std::lock_guard<std::mutex> guard(lock);
    return faults != NULL && n_taken < faults->size() ? (*faults)[n_taken++].c_str() : NULL;
}

void fault_reset(void)
{
    std::lock_guard<std::mutex> guard(lock);
    if (faults != NULL) {
        faults->clear();
    }
    n_taken = 0;
    for (auto &failure : failures) {
        failure.fails_at = 0;
    }
}

// ---- Failures on order --------------------------------------------------------------------------

static void failures_from_environment(void)
{
    static bool done;
    if (done) {
        return;
    }
    done = true;
    const char *wish = getenv("MUSTER_EMULATE_FAIL");
    for (int i = 0; wish != NULL && i < EMULATE_FAILURES; i++) {
        size_t n = strlen(failure_names[i]);
        if (strncmp(wish, failure_names[i], n) == 0 && wish[n] == ':') {
            failures[i].fails_at = strtoull(wish + n + 1, NULL, 10);
        }
    }
}

bool failure_now(EmulateFailure what)
{
    std::lock_guard<std::mutex> guard(lock);
    failures_from_environment();
    return ++failures[what].count == failures[what].fails_at;
}

void emulate_fail(EmulateFailure what, uint64_t nth)
{
    std::lock_guard<std::mutex> guard(lock);
    failures_from_environment();
    failures[what].fails_at = nth == 0 ? 0 : failures[what].count + nth;
}

uint64_t emulate_count(EmulateFailure what)
{
    std::lock_guard<std::mutex> guard(lock);
    return failures[what].count;
}

// ---- Libraries that are not there ---------------------------------------------------------------

static bool without_blas, without_nccl, without_read;

/** Under the lock. */
static void without_from_environment(void)
{
    const char *text = without_read ? NULL : getenv("MUSTER_EMULATE_WITHOUT");
    without_read = true;
    without_blas = without_blas || (text != NULL && strstr(text, "blas") != NULL);
    without_nccl = without_nccl || (text != NULL && strstr(text, "nccl") != NULL);
}

void emulate_without(bool blas, bool nccl)
{
    std::lock_guard<std::mutex> guard(lock);
    without_read = true;
    without_blas = blas;
    without_nccl = nccl;
}

bool library_absent(const char *name)
{
    std::lock_guard<std::mutex> guard(lock);
    without_from_environment();
    return strcmp(name, "blas") == 0 ? without_blas : without_nccl;
}

// ---- Stray accesses -----------------------------------------------------------------------------

static struct sigaction before;
static char stray_text[480];

static void *stray_at; // the instruction

[[maybe_unused]] static void stray(void)
{
    fault_at(stray_at, "%s", stray_text);
}

static bool stray_of_kernel(const void *at)
{
    if (!launch_inside()) {
        return false;
    }
    const Thread *thread = emulate_current.current;
    if (thread->context != NULL && context_overflow(thread->context, at)) {
        snprintf(stray_text, sizeof(stray_text), "%s: its stack is full", fault_who());
        return false; // no room to leave from
    }
    char what[300];
    memory_explain(at, 1, what, sizeof(what));
    snprintf(stray_text, sizeof(stray_text), "%s touches %s", fault_who(), what);
    return true;
}

static void on_signal(int number, siginfo_t *info, void *state)
{
    bool kernel = stray_of_kernel(info->si_addr);
#if defined(__x86_64__)
    if (kernel) { // go on in stray(), on the fiber's stack, out of the handler
        ucontext_t *u = (ucontext_t *)state;
        greg_t sp = u->uc_mcontext.gregs[REG_RSP] - 256; // past the red zone
        u->uc_mcontext.gregs[REG_RSP] = (sp & ~(greg_t)15) - 8;
        stray_at = (void *)u->uc_mcontext.gregs[REG_RIP];
        u->uc_mcontext.gregs[REG_RIP] = (greg_t)stray;
        return;
    }
#else
    (void)state;
#endif
    if (!kernel && !launch_inside() && memory_in_arena(info->si_addr)) {
        char what[300];
        memory_explain(info->si_addr, 1, what, sizeof(what));
        fprintf(stderr, "emulate: the host touches %s\n", what);
    } else if (launch_inside()) {
        fprintf(stderr, "emulate: %s\n", stray_text);
    }
    sigaction(number, &before, NULL); // it happens again, for whoever was there before
}

void fault_install(void)
{
#if !EMULATE_ASAN // which has one of its own
    static thread_local bool has_stack;
    if (!has_stack) { // to say that a fiber's is full
        stack_t stack;
        memset(&stack, 0, sizeof(stack));
        stack.ss_size = 64 * 1024;
        stack.ss_sp = malloc(stack.ss_size);
        sigaltstack(&stack, NULL);
        has_stack = true;
    }
#endif
    static bool done;
    if (done) {
        return;
    }
    done = true;
    ready();
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before);
}
