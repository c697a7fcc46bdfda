// SPDX-License-Identifier: MIT
// The little that the program needs beyond pthread: how many threads it may use, and a queue that
// any thread may push to and whose consumer can sleep in poll().
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/** Usable CPUs: the affinity mask, cut by the cgroup's CPU quota (v1 or v2), at least 1. */
int threads_usable_cpus(void);

/** An intrusive link: put it first in what is queued. */
typedef struct QueueNode {
    struct QueueNode *next;
} QueueNode;

/** Many producers, one consumer; FIFO. `event_fd` is readable while the queue may hold something.
 */
typedef struct Queue {
    pthread_mutex_t mutex;
    QueueNode *head;
    QueueNode *tail;
    size_t n;
    int event_fd;
} Queue;

bool queue_init(Queue *queue);
void queue_finish(Queue *queue); // must be empty or its nodes owned elsewhere
void queue_push(Queue *queue, QueueNode *node);
/** Take everything at once, oldest first, and clear the event; NULL when empty. */
QueueNode *queue_take_all(Queue *queue);
