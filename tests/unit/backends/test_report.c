// SPDX-License-Identifier: MIT
// What is found of a driver and its devices, over the fake ones in this folder.
#include "../tap.h"

#include <stdlib.h>

#include "kernels/backends.h"

static CudaReport report;

static void driver(void)
{
    backends_report(&report);
    CHECK(report.driver);
    CHECK_INT(report.driver_version, 12040);
    CHECK_INT(report.n_devices, 2);
    CHECK_STR(str_from_c(report.devices[0].name), STR("Fake 10"));
    CHECK_INT(report.devices[0].memory_bytes, 8ll << 30);
    CHECK_INT(report.devices[1].memory_bytes, 16ll << 30);
    CHECK_INT(report.devices[0].major * 10 + report.devices[0].minor, 90);
    CHECK_INT(report.devices[1].major * 10 + report.devices[1].minor, 75);
}

static void driver_fails(void)
{
    setenv("FAKE_DRIVER_FAIL", "100", 1);
    backends_report(&report);
    CHECK(!report.driver);
    CHECK_INT(report.n_devices, 0);
    CHECK_INT(report.driver_version, 12040); // it tells that all the same
    CHECK_STR(str_from_c(report.driver_why),
              STR("the NVIDIA driver does not start: no CUDA-capable device is detected (100)"));
    setenv("FAKE_DRIVER_FAIL", "999", 1);
    backends_report(&report);
    CHECK_STR(str_from_c(report.driver_why), STR("the NVIDIA driver does not start: error (999)"));
    unsetenv("FAKE_DRIVER_FAIL");
}

static void libraries(void)
{
    backends_report(&report);
    CHECK_INT(report.n_libraries, 4);
    for (size_t i = 0; i < report.n_libraries; i++) {
        if (strcmp(report.libraries[i].what, "NVML") == 0) {
            CHECK_STR(str_from_c(report.libraries[i].file), STR("libnvidia-ml.so.1"));
        }
    }
}

int main(void)
{
    tap_run("driver and devices", driver);
    tap_run("a driver that does not start", driver_fails);
    tap_run("libraries", libraries);
    return tap_done();
}
