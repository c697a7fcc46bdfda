// SPDX-License-Identifier: MIT
// One child at a time, in a process group of its own that is killed whole on a time-out, and that
// dies with us. Between fork and exec only async-signal-safe calls are made.
#include "base/process.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/** Both ends of the pipes of one run; -1 when closed. */
typedef struct Pipes {
    int out[2];
    int err[2];
    int exec[2]; // carries errno when exec fails; closed by a successful exec
} Pipes;

static void fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void pipes_close(Pipes *pipes)
{
    int *all[] = {pipes->out, pipes->err, pipes->exec};
    for (size_t i = 0; i < 3; i++) {
        fd_close(&all[i][0]);
        fd_close(&all[i][1]);
    }
}

static bool pipes_open(Pipes *pipes)
{
    *pipes = (Pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    return pipe2(pipes->out, O_CLOEXEC) == 0 && pipe2(pipes->err, O_CLOEXEC) == 0 &&
           pipe2(pipes->exec, O_CLOEXEC) == 0 && fcntl(pipes->out[0], F_SETFL, O_NONBLOCK) == 0 &&
           fcntl(pipes->err[0], F_SETFL, O_NONBLOCK) == 0;
}

static _Noreturn void child_main(const char *const *argv, const Pipes *pipes, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127); // it died before the line above
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    int nothing = open("/dev/null", O_RDONLY);
    if (dup2(nothing, STDIN_FILENO) >= 0 && dup2(pipes->out[1], STDOUT_FILENO) >= 0 &&
        dup2(pipes->err[1], STDERR_FILENO) >= 0) {
        // exec's prototype lacks the const that it keeps.
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    }
    int cause = errno;
    ssize_t written = write(pipes->exec[1], &cause, sizeof cause);
    (void)written;
    _exit(127);
}

/** Move what a pipe holds into buf (or nowhere); closes the fd at its end. */
static void drain(int *fd, Buf *buf)
{
    char piece[16384];
    while (*fd >= 0) {
        ssize_t got = read(*fd, piece, sizeof piece);
        if (got > 0) {
            if (buf != NULL) {
                buf_append(buf, piece, (size_t)got);
            }
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && errno == EAGAIN) {
            return;
        } else {
            fd_close(fd);
        }
    }
}

/** Wait for the child and its output; false when the deadline passed first. */
static bool child_wait(pid_t pid, Pipes *pipes, int timeout_ms, Buf *out, Buf *err_out,
                       int *out_wait_status)
{
    int64_t deadline = clock_ns() + (int64_t)timeout_ms * 1000000;
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0); // -1 on kernels before 5.3: poll by time
    bool done = false;
    bool in_time = true;
    while (!done && in_time) {
        int64_t left_ms = (deadline - clock_ns()) / 1000000;
        int wait_ms = left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
        if (pid_fd < 0 && wait_ms > 20) {
            wait_ms = 20;
        }
        struct pollfd fds[] = {{.fd = pipes->out[0], .events = POLLIN},
                               {.fd = pipes->err[0], .events = POLLIN},
                               {.fd = pid_fd, .events = POLLIN}};
        poll(fds, 3, wait_ms);
        drain(&pipes->out[0], out);
        drain(&pipes->err[0], err_out);
        done = waitpid(pid, out_wait_status, WNOHANG) == pid;
        in_time = clock_ns() < deadline;
    }
    fd_close(&pid_fd);
    // What the child wrote before it ended; a grandchild that keeps the pipe open is not waited
    // for.
    drain(&pipes->out[0], out);
    drain(&pipes->err[0], err_out);
    return done;
}

static int status_from(int wait_status)
{
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

bool process_run(const char *const *argv, int timeout_ms, Buf *out_stdout, Buf *out_stderr,
                 int *out_status, Err *err)
{
    Pipes pipes;
    if (!pipes_open(&pipes)) {
        ERR_SET_ERRNO(err, "cannot make pipes for '%s'", argv[0]);
        pipes_close(&pipes);
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        child_main(argv, &pipes, parent);
    }
    if (pid < 0) {
        ERR_SET_ERRNO(err, "cannot start '%s'", argv[0]);
        pipes_close(&pipes);
        return false;
    }
    setpgid(pid, pid); // both sides do it: whoever comes first
    fd_close(&pipes.out[1]);
    fd_close(&pipes.err[1]);
    fd_close(&pipes.exec[1]);
    int cause = 0;
    ssize_t got;
    do {
        got = read(pipes.exec[0], &cause, sizeof cause);
    } while (got < 0 && errno == EINTR);
    int wait_status = 0;
    bool started = got != (ssize_t)sizeof cause;
    bool done =
        started && child_wait(pid, &pipes, timeout_ms, out_stdout, out_stderr, &wait_status);
    if (!done) {
        kill(-pid, SIGKILL);
        while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
        }
    }
    pipes_close(&pipes);
    if (!started && (cause == ENOENT || cause == ENOTDIR)) {
        return ERR_SET(err, ERR_NOT_FOUND, "the program '%s' is not installed", argv[0]);
    }
    if (!started) {
        errno = cause;
        return ERR_SET_ERRNO(err, "cannot run '%s'", argv[0]);
    }
    if (!done) {
        return ERR_SET(err, ERR_TIMEOUT, "'%s' took longer than %d ms and was stopped", argv[0],
                       timeout_ms);
    }
    *out_status = status_from(wait_status);
    return true;
}
