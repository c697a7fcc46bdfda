// SPDX-License-Identifier: MIT
// A host for samplers under test: a queue, default settings, and a Net made on first use.
#pragma once

#include "tests/unit/tap.h"

#include "net/net.h"
#include "sampler/sampler.h"

#include <poll.h>

typedef struct TestHost {
    SamplerHost host;
    Queue queue;
    SamplerSettings settings;
    Net *net;
} TestHost;

static inline Net *test_host_net(SamplerHost *host, Err *err)
{
    TestHost *test = host->ctx;
    NetOptions options = {.backoff_base_ms = 1, .stall_timeout_ms = 2000};
    if (test->net == NULL && !net_create(&options, &test->net, err)) {
        return NULL;
    }
    return test->net;
}

static inline void test_host_init(TestHost *test)
{
    *test = (TestHost){.net = NULL};
    CHECK(queue_init(&test->queue));
    test->host = (SamplerHost){.completions = &test->queue,
                               .net = test_host_net,
                               .settings = &test->settings,
                               .ctx = test};
}

static inline void test_host_finish(TestHost *test)
{
    net_destroy(test->net);
    test->net = NULL;
    for (QueueNode *node = queue_take_all(&test->queue), *next; node != NULL; node = next) {
        next = node->next;
        completion_destroy((Completion *)(void *)node);
    }
    queue_finish(&test->queue);
}

/** The next completions, waiting at most 20 s for one; the caller destroys them (linked by node).
 */
static inline Completion *test_host_take(TestHost *test)
{
    int64_t deadline = clock_ns() + INT64_C(20000000000);
    while (clock_ns() < deadline) {
        QueueNode *node = queue_take_all(&test->queue);
        if (node != NULL) {
            return (Completion *)(void *)node;
        }
        Err err = ERR_INIT;
        struct pollfd fd = {.fd = test->queue.event_fd, .events = POLLIN};
        if (test->net == NULL ? poll(&fd, 1, 1000) < 0
                              : !net_poll(test->net, test->queue.event_fd, 1000, &err)) {
            break;
        }
    }
    return NULL;
}

/** Submit one request and wait for its completion; NULL when it was refused or none came. */
static inline Completion *test_host_run(TestHost *test, Sampler *sampler, const Request *request,
                                        Err *err)
{
    if (!sampler->ops->submit(sampler, 77, request, err)) {
        return NULL;
    }
    Completion *completion = test_host_take(test);
    CHECK(completion != NULL && completion->id == 77);
    return completion;
}
