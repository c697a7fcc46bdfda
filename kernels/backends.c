// SPDX-License-Identifier: MIT
// Which backend serves a device. What is missing is said in words that a person can act on; under
// `auto` it is a note, under `cuda` an error.
#include "kernels/backends.h"

#include <stdio.h>
#include <string.h>

#include "kernels/cuda/load.h"

bool backends_parse(Str text, DeviceWish *out)
{
    DeviceWish wish = {0};
    Str kind = text;
    Str index = STR_EMPTY;
    bool numbered = str_cut(text, STR(":"), &kind, &index);
    if (text.len == 0 || str_eq(text, STR("auto"))) {
        wish.kind = DEVICE_AUTO;
    } else if (str_eq(text, STR("cpu"))) {
        wish.kind = DEVICE_CPU;
    } else if (str_eq(kind, STR("cuda"))) {
        int64_t n = 0;
        bool digits = index.len > 0 && index.data[0] >= '0' && index.data[0] <= '9';
        if (numbered && (!digits || !str_to_i64(index, &n) || n >= CUDA_DEVICES_MAX)) {
            return false;
        }
        wish = (DeviceWish){.kind = DEVICE_CUDA, .index = (int)n};
    } else {
        return false;
    }
    *out = wish;
    return true;
}

static bool open_on(const KOps *ops, const KDeviceOptions *options, DeviceOpened *out, Err *err)
{
    if (!ops->device_open(options, &out->device, err)) {
        return false;
    }
    out->ops = ops;
    out->index = options->index;
    return true;
}

/** Without a driver a module's own message is of CUDA's runtime; the missing driver is the cause.
 */
static void driver_explain(Err *err)
{
    CudaReport *report = mem_zalloc(1, sizeof(*report));
    cuda_driver_report(report);
    if (!report->driver) {
        Err cause = ERR_INIT;
        ERR_SET(&cause, ERR_ENVIRONMENT, "%s; %.400s", report->driver_why, err->message);
        *err = cause;
    }
    mem_free(report);
}

static bool open_cuda(const KDeviceOptions *options, int n_devices, DeviceOpened *out, Err *err)
{
    CudaModule module;
    KDeviceOptions own = *options;
    char ranks[16];
    own.path = NULL; // of the CPU's code
    if (n_devices > 1) {
        snprintf(ranks, sizeof(ranks), "tp=%d", n_devices);
        own.path = ranks;
    }
    cuda_module_load(&module);
    if (module.ops == NULL) {
        ERR_SET(err, ERR_ENVIRONMENT, "%s", module.why);
        if (!module.asked && module.path[0] == '\0') {
            driver_explain(err);
        }
        return false;
    }
    if (!open_on(module.ops, &own, out, err)) {
        driver_explain(err);
        return false;
    }
    return true;
}

bool backends_open(const DeviceWish *wish, const KDeviceOptions *options, const KOps *cpu,
                   DeviceOpened *out, Err *err)
{
    DeviceOpened opened = {0};
    KDeviceOptions own = *options;
    own.index = wish->kind == DEVICE_CUDA ? wish->index : 0;
    bool several = wish->n_devices > 1;
    bool ok = false;
    if (wish->kind == DEVICE_CPU && several) {
        return ERR_SET(err, ERR_USAGE, "--tp %d is for GPUs, and the device is cpu",
                       wish->n_devices);
    }
    if (wish->kind == DEVICE_CPU && options->fast) {
        return ERR_SET(err, ERR_USAGE, "--fast is for GPUs, and the device is cpu");
    }
    if (wish->kind != DEVICE_CPU) {
        Err why = ERR_INIT;
        ok = open_cuda(&own, wish->n_devices, &opened, &why);
        if (!ok && (wish->kind == DEVICE_CUDA || several || options->fast)) {
            *err = why;
            return ERR_WRAP(err, "device 'cuda:%d' can not be used (see: muster doctor)",
                            wish->index);
        }
        if (!ok) {
            snprintf(opened.note, sizeof(opened.note), "%.*s", (int)sizeof(opened.note) - 1,
                     why.message);
        }
    }
    if (!ok && !open_on(cpu, &own, &opened, err)) {
        return false;
    }
    *out = opened;
    return true;
}

bool backends_usable_gpus(bool out[CUDA_DEVICES_MAX], Err *err)
{
    CudaReport *report = mem_zalloc(1, sizeof(*report));
    cuda_driver_report(report);
    for (size_t i = 0; i < CUDA_DEVICES_MAX; i++) {
        out[i] = i < report->n_devices && report->devices[i].major >= CUDA_LEAST_MAJOR;
    }
    bool ok = report->driver || ERR_SET(err, ERR_ENVIRONMENT, "no GPU: %s", report->driver_why);
    mem_free(report);
    return ok;
}

void backends_report(CudaReport *out)
{
    *out = (CudaReport){0};
    CudaModule module;
    cuda_driver_report(out);
    cuda_libraries_report(out);
    cuda_module_load(&module);
    out->module = module.ops != NULL;
    out->module_asked = module.asked;
    memcpy(out->module_path, module.path, sizeof(out->module_path));
    memcpy(out->module_why, module.why, sizeof(out->module_why));
}
