// SPDX-License-Identifier: MIT
// What the files of base share with each other and with their tests.
#pragma once

#include "base/str.h"

#include <limits.h>

/** A path as a C string in a fixed place; long and NUL-holding paths are refused. */
typedef struct CPath {
    char text[PATH_MAX];
} CPath;

bool cpath_from(CPath *out, Str path);

/**
 * The CPU quota of a cgroup in CPUs, the least along its ancestors; 0 when there is none.
 * self_cgroup is the text of /proc/self/cgroup, sys_dir where the hierarchies are mounted. */
double cgroup_cpu_quota(Str self_cgroup, const char *sys_dir);

/** Whether this processor has the instructions of sha256_x86_blocks. */
bool sha256_x86_usable(void);
/** Compress whole blocks of 64 bytes into state; constants are the 64 of FIPS 180-4. */
void sha256_x86_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks,
                       const uint32_t *constants);
/** The same in plain C. */
void sha256_plain_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks);
