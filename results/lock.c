// SPDX-License-Identifier: MIT
// Locks between processes, all of them flock: the kernel drops them with the process, however it
// ends.
#include "results/db_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STORE_LOCK_WAIT_NS      (10 * 1000000000LL)
#define EXPERIMENT_LOCK_WAIT_NS (200 * 1000000LL) // readers hold it for an instant to look
#define LOCK_PATH_MAX           4096

/** Take fd's flock, asking again until the time is up; false with errno. */
static bool flock_until(int fd, int64_t deadline_ns)
{
    int64_t pause_ns = 100000;
    for (;;) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        if (errno != EINTR && (errno != EWOULDBLOCK || clock_ns() >= deadline_ns)) {
            return false;
        }
        struct timespec pause = {.tv_nsec = pause_ns};
        nanosleep(&pause, NULL);
        pause_ns = pause_ns < 5000000 ? pause_ns * 2 : pause_ns;
    }
}

/** Leave our pid in the file, for the message of whoever has to wait; failure does no harm. */
static void holder_write(int fd)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%-20ld\n", (long)getpid());
    ssize_t written = pwrite(fd, text, (size_t)len, 0);
    (void)written;
}

static long holder_read(int fd)
{
    char text[24] = {0};
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    int64_t pid = 0;
    return n > 0 && str_to_i64(str_trim(str_from_c(text)), &pid) ? (long)pid : 0;
}

static int lock_file_open(const char *path, const char *suffix, Err *err)
{
    char name[LOCK_PATH_MAX];
    if ((size_t)snprintf(name, sizeof(name), "%s%s", path, suffix) >= sizeof(name)) {
        ERR_SET(err, ERR_STORE, "the path of the store is too long");
        return -1;
    }
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0) {
        int saved = errno;
        ERR_SET(err, ERR_STORE, "can not write '%s': %s; the store needs a folder it may write to",
                name, strerror(saved));
    }
    return fd;
}

bool store_lock_open(StoreLock *lock, const char *path, Err *err)
{
    *lock = (StoreLock){.lock_fd = -1, .turn_fd = -1, .wait_ns = STORE_LOCK_WAIT_NS, .path = path};
    lock->lock_fd = lock_file_open(path, "-lock", err);
    if (lock->lock_fd < 0) {
        return false;
    }
    lock->turn_fd = lock_file_open(path, "-turn", err);
    if (lock->turn_fd < 0) {
        store_lock_close(lock);
        return false;
    }
    return true;
}

void store_lock_close(StoreLock *lock)
{
    if (lock->lock_fd >= 0) {
        close(lock->lock_fd);
    }
    if (lock->turn_fd >= 0) {
        close(lock->turn_fd);
    }
    lock->lock_fd = lock->turn_fd = -1;
}

bool store_lock_take(StoreLock *lock, Err *err)
{
    int64_t deadline = clock_ns() + lock->wait_ns;
    bool turn = flock_until(lock->turn_fd, deadline);
    bool taken = turn && flock_until(lock->lock_fd, deadline);
    int saved = errno;
    if (turn) {
        flock(lock->turn_fd, LOCK_UN);
    }
    if (taken) {
        holder_write(lock->lock_fd);
        return true;
    }
    if (saved != EWOULDBLOCK) {
        errno = saved;
        return ERR_SET(err, ERR_STORE, "can not lock the store '%s': %s", lock->path,
                       strerror(saved));
    }
    return ERR_SET(
        err, ERR_STORE,
        "the store '%s' has been locked for %lld s by process %ld; wait for that process "
        "or end it, then --resume",
        lock->path, STORE_LOCK_WAIT_NS / 1000000000LL, holder_read(lock->lock_fd));
}

void store_lock_release(StoreLock *lock)
{
    flock(lock->lock_fd, LOCK_UN);
}

// ---- One writer per experiment ------------------------------------------------------------------

static bool experiment_lock_name(const char *path, Str short_id, char out[LOCK_PATH_MAX])
{
    return (size_t)snprintf(out, LOCK_PATH_MAX, "%s-lock-" STR_FMT, path, STR_ARG(short_id)) <
           LOCK_PATH_MAX;
}

/** Whether the open file is still the one of that name: its last holder may have removed it. */
static bool is_same_file(int fd, const char *name)
{
    struct stat open_file;
    struct stat named;
    return fstat(fd, &open_file) == 0 && stat(name, &named) == 0 &&
           open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

bool experiment_lock_take(const char *path, Str short_id, int *out_fd, Err *err)
{
    char name[LOCK_PATH_MAX];
    if (!experiment_lock_name(path, short_id, name)) {
        return ERR_SET(err, ERR_STORE, "the path of the store is too long");
    }
    for (;;) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
        if (fd < 0) {
            int saved = errno;
            return ERR_SET(err, ERR_STORE, "can not write '%s': %s", name, strerror(saved));
        }
        if (!flock_until(fd, clock_ns() + EXPERIMENT_LOCK_WAIT_NS)) {
            long pid = holder_read(fd);
            close(fd);
            return ERR_SET(err, ERR_STORE,
                           "the experiment is being written by process %ld; wait for that process "
                           "or end it, then --resume",
                           pid);
        }
        if (is_same_file(fd, name)) {
            holder_write(fd);
            *out_fd = fd;
            return true;
        }
        close(fd);
    }
}

void experiment_lock_release(const char *path, Str short_id, int fd)
{
    if (fd < 0) {
        return;
    }
    char name[LOCK_PATH_MAX];
    if (experiment_lock_name(path, short_id, name)) {
        unlink(name); // while we hold it, so nobody else's file is removed
    }
    close(fd);
}

bool experiment_lock_is_held(const char *path, Str short_id)
{
    char name[LOCK_PATH_MAX];
    if (!experiment_lock_name(path, short_id, name)) {
        return false;
    }
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}
