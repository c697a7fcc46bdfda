// SPDX-License-Identifier: MIT
// Usable CPUs and the completion queue. The queue's eventfd is written only when it turns from
// empty to not empty, so a burst of pushes costs one system call.
#include "base/threads.h"

#include "base/base_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CPUS_MAX 65536

static int affinity_cpus(void)
{
    for (int n = 1024; n <= CPUS_MAX; n *= 2) {
        cpu_set_t *set = CPU_ALLOC(n);
        if (set == NULL) {
            break;
        }
        size_t size = CPU_ALLOC_SIZE(n);
        bool ok = sched_getaffinity(0, size, set) == 0;
        bool too_small = !ok && errno == EINVAL;
        int count = ok ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0) {
            return count;
        }
        if (!too_small) {
            break;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < CPUS_MAX ? (int)online : 1;
}

/** Read the start of a small file into out; the bytes read, or an empty string. */
static Str small_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return STR_EMPTY;
    }
    size_t len = 0;
    while (len < size) {
        ssize_t got = read(fd, out + len, size - len);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    close(fd);
    return (Str){out, len};
}

static bool group_file_number(const char *sys_dir, const char *hierarchy, Str group,
                              const char *file, Str *out, char buffer[64])
{
    CPath path;
    int len = snprintf(path.text, sizeof path.text, "%s%s" STR_FMT "/%s", sys_dir, hierarchy,
                       STR_ARG(group), file);
    if (len < 0 || (size_t)len >= sizeof path.text) {
        return false;
    }
    *out = str_trim(small_file(path.text, buffer, 64));
    return out->len > 0;
}

static double quota_of(Str quota, Str period)
{
    int64_t q;
    int64_t p;
    bool limited = str_to_i64(quota, &q) && str_to_i64(period, &p) && q > 0 && p > 0;
    return limited ? (double)q / (double)p : 0; // "max" (v2) and -1 (v1) mean no quota
}

static double group_quota_v1(const char *sys_dir, const char *hierarchy, Str group)
{
    char a[64];
    char b[64];
    Str quota;
    Str period;
    bool found = group_file_number(sys_dir, hierarchy, group, "cpu.cfs_quota_us", &quota, a) &&
                 group_file_number(sys_dir, hierarchy, group, "cpu.cfs_period_us", &period, b);
    return found ? quota_of(quota, period) : 0;
}

static double group_quota_v2(const char *sys_dir, const char *hierarchy, Str group)
{
    char buffer[64];
    Str text;
    Str quota;
    Str period;
    bool found = group_file_number(sys_dir, hierarchy, group, "cpu.max", &text, buffer) &&
                 str_cut(text, STR(" "), &quota, &period);
    return found ? quota_of(quota, period) : 0;
}

typedef double GroupQuota(const char *sys_dir, const char *hierarchy, Str group);

/**
 * The least quota of a group and its ancestors in one hierarchy. A group that is not visible here
 * (a container with its own view) is skipped; the mounted root is always looked at. */
static double least_quota(const char *sys_dir, const char *hierarchy, Str group, GroupQuota *read)
{
    double least = 0;
    if (str_find(group, STR("/.."), 0) != STR_NONE) {
        group = STR("/"); // outside of this cgroup namespace
    }
    for (;;) {
        while (group.len > 0 && group.data[group.len - 1] == '/') {
            group.len--;
        }
        double quota = read(sys_dir, hierarchy, group);
        if (quota > 0 && (least == 0 || quota < least)) {
            least = quota;
        }
        if (group.len == 0) {
            return least;
        }
        size_t slash = str_find_last(group, STR("/"));
        group.len = slash == STR_NONE ? 0 : slash;
    }
}

/** Whether a comma-separated list holds a word. */
static bool list_holds(Str list, Str word)
{
    for (bool more = true; more;) {
        Str item;
        more = str_cut(list, STR(","), &item, &list);
        if (str_eq(item, word)) {
            return true;
        }
    }
    return false;
}

double cgroup_cpu_quota(Str self_cgroup, const char *sys_dir)
{
    static const char *const v1_dirs[] = {"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"};
    static const char *const v2_dirs[] = {"", "/unified"};
    double least = 0;
    for (bool more = true; more;) { // lines are "id:controllers:/group"; v2 is "0::/group"
        Str line;
        Str id;
        Str rest;
        Str controllers;
        Str group;
        more = str_cut(self_cgroup, STR("\n"), &line, &self_cgroup);
        if (!str_cut(line, STR(":"), &id, &rest) ||
            !str_cut(rest, STR(":"), &controllers, &group)) {
            continue;
        }
        bool v2 = controllers.len == 0;
        if (!v2 && !list_holds(controllers, STR("cpu"))) {
            continue;
        }
        size_t n_dirs =
            v2 ? sizeof v2_dirs / sizeof v2_dirs[0] : sizeof v1_dirs / sizeof v1_dirs[0];
        for (size_t i = 0; i < n_dirs; i++) {
            double quota = least_quota(sys_dir, v2 ? v2_dirs[i] : v1_dirs[i], group,
                                       v2 ? group_quota_v2 : group_quota_v1);
            if (quota > 0 && (least == 0 || quota < least)) {
                least = quota;
            }
        }
    }
    return least;
}

int threads_usable_cpus(void)
{
    int cpus = affinity_cpus();
    char text[4096];
    Str self = small_file("/proc/self/cgroup", text, sizeof text);
    double quota = cgroup_cpu_quota(self, "/sys/fs/cgroup");
    // Rounded up: the last thread of 1.5 CPUs is throttled, but the half is not left unused.
    if (quota > 0 && ceil(quota) < cpus) {
        cpus = (int)ceil(quota);
    }
    return cpus > 1 ? cpus : 1;
}

bool queue_init(Queue *queue)
{
    *queue = (Queue){.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (queue->event_fd < 0) {
        return false;
    }
    if (pthread_mutex_init(&queue->mutex, NULL) != 0) {
        close(queue->event_fd);
        queue->event_fd = -1;
        return false;
    }
    return true;
}

void queue_finish(Queue *queue)
{
    if (queue == NULL || queue->event_fd <= 0) { // zeroed, or never opened
        return;
    }
    close(queue->event_fd);
    queue->event_fd = -1;
    pthread_mutex_destroy(&queue->mutex);
}

void queue_push(Queue *queue, QueueNode *node)
{
    node->next = NULL;
    pthread_mutex_lock(&queue->mutex);
    bool was_empty = queue->head == NULL;
    if (was_empty) {
        queue->head = node;
    } else {
        queue->tail->next = node;
    }
    queue->tail = node;
    queue->n++;
    if (was_empty) {
        uint64_t one = 1;
        ssize_t written = write(queue->event_fd, &one, sizeof one);
        (void)written; // it can only fail when the counter is full, and then it is readable
    }
    pthread_mutex_unlock(&queue->mutex);
}

QueueNode *queue_take_all(Queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    QueueNode *head = queue->head;
    if (head != NULL) {
        uint64_t count;
        ssize_t got = read(queue->event_fd, &count, sizeof count);
        (void)got;
    }
    queue->head = NULL;
    queue->tail = NULL;
    queue->n = 0;
    pthread_mutex_unlock(&queue->mutex);
    return head;
}
