// SPDX-License-Identifier: MIT
// libcurl takes 16 ms to load with its libraries, more than all of `muster --version` may: so it is
// opened when the first client is made, never linked.
#include "net/net_internal.h"

#include <dlfcn.h>
#include <string.h>

static struct {
    pthread_once_t once;
    CurlApi api;
    bool ok;
    char message[256];
} loaded = {.once = PTHREAD_ONCE_INIT};

/** One function of the table. */
typedef struct Symbol {
    const char *name;
    size_t offset;
} Symbol;

#define SYMBOL(name)                                                                               \
    {                                                                                              \
        "curl_" #name, offsetof(CurlApi, name)                                                     \
    }

static const Symbol symbols[] = {
    SYMBOL(easy_init),
    SYMBOL(easy_cleanup),
    SYMBOL(easy_reset),
    SYMBOL(easy_setopt),
    SYMBOL(easy_getinfo),
    SYMBOL(easy_strerror),
    SYMBOL(multi_init),
    SYMBOL(multi_cleanup),
    SYMBOL(multi_setopt),
    SYMBOL(multi_add_handle),
    SYMBOL(multi_remove_handle),
    SYMBOL(multi_perform),
    SYMBOL(multi_poll),
    SYMBOL(multi_info_read),
    SYMBOL(multi_strerror),
    SYMBOL(slist_append),
    SYMBOL(slist_free_all),
    SYMBOL(url),
    SYMBOL(url_cleanup),
    SYMBOL(url_set),
    SYMBOL(url_get),
    SYMBOL(free),
    SYMBOL(global_init),
};
_Static_assert(sizeof symbols / sizeof symbols[0] == sizeof(CurlApi) / sizeof(void (*)(void)),
               "a symbol for each function");

static void *library_open(void)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library != NULL) {
            return library;
        }
    }
    return NULL;
}

static void load(void)
{
    void *library = library_open();
    if (library == NULL) {
        const char *why = dlerror();
        snprintf(loaded.message, sizeof loaded.message, "%s",
                 why != NULL ? why : "no reason given");
        return;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (address == NULL) {
            snprintf(loaded.message, sizeof loaded.message, "it lacks %s", symbols[i].name);
            return;
        }
        memcpy((char *)&loaded.api + symbols[i].offset, &address, sizeof address);
    }
    CURLcode code = loaded.api.global_init(CURL_GLOBAL_DEFAULT);
    loaded.ok = code == CURLE_OK;
    if (!loaded.ok) {
        snprintf(loaded.message, sizeof loaded.message, "%s", loaded.api.easy_strerror(code));
    }
}

const CurlApi *curl_api(Err *err)
{
    pthread_once(&loaded.once, load);
    if (!loaded.ok) {
        ERR_SET(err, ERR_ENVIRONMENT, "endpoints and downloads need libcurl (Debian: libcurl4): %s",
                loaded.message);
        return NULL;
    }
    return &loaded.api;
}
