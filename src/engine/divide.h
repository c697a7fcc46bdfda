// SPDX-License-Identifier: MIT
// Dividing sorted sequences among devices that each hold all weights. Neighbours in order share
// their beginnings, so what a device gets are a few runs of neighbours: cut where they share least,
// since a beginning that goes to two devices is computed by both. A pure function of its arguments.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DIVIDE_DEVICES_MAX 64

/** One request, as its longest sequence; sorted by their tokens. */
typedef struct DivideEntry {
    uint32_t n;   // tokens
    uint32_t lcp; // of these shared with the entry before; 0 for the first
    uint64_t own; // weight that it has besides, wherever it goes
} DivideEntry;

typedef struct Divided {
    uint64_t pieces;
    uint64_t distinct; // tokens on one device
    uint64_t doubled;  // that are computed on more than one device, once for each but the first
} Divided;

/**
 * Give every entry a device.
 * shapes  entries (n); load (n_devices) weight that the devices have, to which this adds;
 * out_device and out_weight (n): what of the load is an entry's. alive   bit d: device d takes
 * work; at least one of the first n_devices <= DIVIDE_DEVICES_MAX. */
void divide(const DivideEntry *entries, size_t n, uint32_t n_devices, uint64_t alive,
            uint64_t *load, uint32_t *out_device, uint64_t *out_weight, Divided *out);
