// SPDX-License-Identifier: MIT
#include "tests/unit/tap.h"

#include "tests/unit/sampler/host.h"

static void test_sampler__unknown_providers(void)
{
    static const struct {
        Str provider;
        const char *want;
    } cases[] = {
        {STR_INIT("ehco"), "did you mean 'echo'?"},
        {STR_INIT("repaly"), "did you mean 'replay'?"},
        {STR_INIT("anthropic"),
         "unknown provider 'anthropic' (there are local, openai, replay, echo)"},
        {STR_INIT(""), "unknown provider ''"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TestHost test;
        test_host_init(&test);
        Model model = {.provider = cases[i].provider};
        Sampler *sampler = NULL;
        Err err = ERR_INIT;
        CHECK(!sampler_open(&model, &test.host, &sampler, &err));
        CHECK_INT(err.code, ERR_USAGE);
        CHECK(strstr(err.message, cases[i].want) != NULL);
        CHECK(sampler == NULL);
        test_host_finish(&test);
    }
}

static void test_sampler__every_row_is_complete(void)
{
    size_t n = 0;
    for (; sampler_table[n] != NULL; n++) {
        const SamplerOps *ops = sampler_table[n];
        CHECK(ops->provider != NULL && ops->help != NULL && ops->open != NULL);
        CHECK(ops->prepare != NULL && ops->submit != NULL && ops->close != NULL);
        for (size_t i = 0; i < n; i++) {
            CHECK(strcmp(ops->provider, sampler_table[i]->provider) != 0);
        }
    }
    CHECK(n >= 4);
}

static void test_completion__is_freed_whole(void)
{
    Completion *completion = completion_create(5);
    CHECK_INT(completion->id, 5);
    CHECK(!completion->failed);
    completion->reply.text = str_copy(&completion->arena, STR("text"));
    completion_destroy(completion);
    completion_destroy(NULL);
}

int main(void)
{
    tap_run("unknown providers get a hint", test_sampler__unknown_providers);
    tap_run("every row of the table is complete", test_sampler__every_row_is_complete);
    tap_run("completions own their arena", test_completion__is_freed_whole);
    return tap_done();
}
