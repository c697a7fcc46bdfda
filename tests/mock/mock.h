// SPDX-License-Identifier: MIT
// Starts tests/mock/server.py for one test program and kills it at the end. The script is named by
// MUSTER_MOCK_SERVER (meson sets it), else sought from the root of the tree.
#pragma once

#include "base/base.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Mock {
    pid_t pid;
    int port;
} Mock;

/** Start the server; false when it does not come up (no python3). */
static inline bool mock_start(Mock *mock)
{
    int ends[2];
    *mock = (Mock){0};
    Str script = env_get("MUSTER_MOCK_SERVER", STR("tests/mock/server.py"));
    char path[4096];
    snprintf(path, sizeof path, STR_FMT, STR_ARG(script));
    if (pipe(ends) != 0) {
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execlp("python3", "python3", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char line[32] = {0};
    size_t len = 0;
    ssize_t got = 0;
    while (pid > 0 && len < sizeof line - 1 && (got = read(ends[0], line + len, 1)) == 1 &&
           line[len] != '\n') {
        len++;
    }
    close(ends[0]);
    int64_t port = 0;
    mock->pid = pid;
    if (!str_to_i64((Str){line, len}, &port)) {
        return false;
    }
    mock->port = (int)port;
    return true;
}

static inline void mock_stop(Mock *mock)
{
    if (mock->pid > 0) {
        kill(mock->pid, SIGKILL);
        waitpid(mock->pid, NULL, 0);
    }
    *mock = (Mock){0};
}

/** http://127.0.0.1:PORT/rest in the arena. */
static inline Str mock_url(const Mock *mock, Arena *arena, const char *rest)
{
    return str_printf(arena, "http://127.0.0.1:%d/%s", mock->port, rest);
}
