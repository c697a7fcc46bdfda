// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "base/base_internal.h"
#include "tests/unit/base/scratch.h"

#include <poll.h>
#include <sched.h>

static void test_threads__affinity_is_honoured(void)
{
    cpu_set_t saved;
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof saved, &saved) != 0) {
        return;
    }
    int n = threads_usable_cpus();
    CHECK(n >= 1 && n <= CPU_COUNT(&saved));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &saved)) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    if (sched_setaffinity(0, sizeof one, &one) == 0) {
        CHECK_INT(threads_usable_cpus(), 1);
        sched_setaffinity(0, sizeof saved, &saved);
    }
}

static void test_threads__cgroup_quota(void)
{
    static const struct {
        int line;
        const char *file[2];
        const char *content[2];
        Str self;
        double want;
    } cases[] = {
        {__LINE__, {"a/cpu.max"}, {"max 100000\n"}, STR_INIT("0::/a\n"), 0},
        {__LINE__, {"a/b/cpu.max"}, {"150000 100000\n"}, STR_INIT("0::/a/b\n"), 1.5},
        {__LINE__, // an ancestor's is smaller
         {"a/b/cpu.max", "a/cpu.max"},
         {"400000 100000\n", "50000 100000\n"},
         STR_INIT("0::/a/b\n"),
         0.5},
        {__LINE__, {"cpu.max"}, {"200000 100000\n"}, STR_INIT("0::/not/visible/here\n"), 2},
        {__LINE__, {"cpu.max"}, {"200000 100000\n"}, STR_INIT("0::/../elsewhere\n"), 2},
        {__LINE__, {"unified/a/cpu.max"}, {"100000 100000\n"}, STR_INIT("0::/a\n"), 1},
        {__LINE__,
         {"cpu,cpuacct/g/cpu.cfs_quota_us", "cpu,cpuacct/g/cpu.cfs_period_us"},
         {"300000\n", "100000\n"},
         STR_INIT("5:memory:/m\n3:cpu,cpuacct:/g\n0::/\n"),
         3},
        {__LINE__,
         {"cpu/g/cpu.cfs_quota_us", "cpu/g/cpu.cfs_period_us"},
         {"-1\n", "100000\n"},
         STR_INIT("3:cpu:/g\n"),
         0},
        {__LINE__, // cpuset is not cpu
         {"cpu/g/cpu.cfs_quota_us", "cpu/g/cpu.cfs_period_us"},
         {"100000\n", "100000\n"},
         STR_INIT("3:cpuset:/g\n"),
         0},
        {__LINE__, {"a/cpu.max"}, {"garbage"}, STR_INIT("0::/a\n"), 0},
        {__LINE__, {"a/cpu.max"}, {"1 0\n"}, STR_INIT("0::/a\n"), 0},
        {__LINE__, {"a/cpu.max"}, {"100000 100000\n"}, STR_INIT("no colons\n:\n\n"), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena arena = {0};
        Scratch scratch;
        scratch_create(&scratch);
        for (size_t j = 0; j < 2 && cases[i].file[j] != NULL; j++) {
            scratch_file(&scratch, &arena, cases[i].file[j], str_from_c(cases[i].content[j]));
        }
        double got = cgroup_cpu_quota(cases[i].self, scratch.dir);
        CHECK_NEAR(got, cases[i].want, 1e-12);
        if (got != cases[i].want) {
            printf("# case of line %d\n", cases[i].line);
        }
        scratch_destroy(&scratch);
        arena_finish(&arena);
    }
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void test_queue__first_in_first_out_and_the_event(void)
{
    Queue queue;
    CHECK(queue_init(&queue));
    CHECK(queue_take_all(&queue) == NULL);
    CHECK(!is_readable(queue.event_fd));
    QueueNode nodes[3];
    for (int i = 0; i < 3; i++) {
        queue_push(&queue, &nodes[i]);
    }
    CHECK(is_readable(queue.event_fd));
    CHECK_INT(queue.n, 3);
    QueueNode *head = queue_take_all(&queue);
    CHECK(head == &nodes[0] && head->next == &nodes[1] && nodes[1].next == &nodes[2]);
    CHECK(nodes[2].next == NULL);
    CHECK(!is_readable(queue.event_fd));
    queue_push(&queue, &nodes[1]);
    CHECK(is_readable(queue.event_fd));
    CHECK(queue_take_all(&queue) == &nodes[1]);
    queue_finish(&queue);
    queue_finish(&queue);
    Queue zeroed = {0};
    queue_finish(&zeroed);
}

enum { N_PRODUCERS = 4, N_EACH = 5000 };

typedef struct Item {
    QueueNode node;
    int producer;
    int number;
} Item;

typedef struct Producer {
    Queue *queue;
    Item *items;
    int id;
} Producer;

static void *produce(void *arg)
{
    Producer *producer = arg;
    for (int i = 0; i < N_EACH; i++) {
        producer->items[i].producer = producer->id;
        producer->items[i].number = i;
        queue_push(producer->queue, &producer->items[i].node);
    }
    return NULL;
}

static void test_queue__several_producers_keep_their_order(void)
{
    Queue queue;
    CHECK(queue_init(&queue));
    Item *items = mem_zalloc((size_t)N_PRODUCERS * N_EACH, sizeof *items);
    Producer producers[N_PRODUCERS];
    pthread_t threads[N_PRODUCERS];
    for (int i = 0; i < N_PRODUCERS; i++) {
        producers[i] = (Producer){.queue = &queue, .items = items + (size_t)i * N_EACH, .id = i};
        pthread_create(&threads[i], NULL, produce, &producers[i]);
    }
    int next[N_PRODUCERS] = {0};
    int n = 0;
    while (n < N_PRODUCERS * N_EACH) {
        struct pollfd poll_fd = {.fd = queue.event_fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 10000) != 1) {
            break; // a lost wake-up: the check below fails
        }
        for (QueueNode *node = queue_take_all(&queue); node != NULL; node = node->next) {
            Item *item = (Item *)(void *)node;
            CHECK_INT(item->number, next[item->producer]);
            next[item->producer]++;
            n++;
        }
    }
    CHECK_INT(n, N_PRODUCERS * N_EACH);
    for (int i = 0; i < N_PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mem_free(items);
    queue_finish(&queue);
}

int main(void)
{
    tap_run("the affinity mask is honoured", test_threads__affinity_is_honoured);
    tap_run("the cgroup's quota is found, v1 and v2", test_threads__cgroup_quota);
    tap_run("a queue is first in, first out; its event tells",
            test_queue__first_in_first_out_and_the_event);
    tap_run("several producers keep their order", test_queue__several_producers_keep_their_order);
    return tap_done();
}
