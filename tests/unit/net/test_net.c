// SPDX-License-Identifier: MIT
// The client against a server that misbehaves on request (tests/mock/server.py).
#include "tests/unit/tap.h"

#include "net/net.h"
#include "tests/mock/mock.h"

#include <sys/eventfd.h>

static Mock mock;
static Arena arena;

/** What on_done saw of one request. */
typedef struct Seen {
    int n_done;
    NetOutcome outcome;
    int status;
    Str body; // in the arena
    Str content_type;
    double retry_after_s;
    int tries;
    bool permanent;
    char message[256];
    // streaming
    Buf streamed;
    uint64_t total;
    size_t stop_after; // on_data says no from here on
    int n_asked;       // worth_retry
    bool worth;
} Seen;

static void on_done(void *ctx, uint64_t id, const NetResponse *response)
{
    Seen *seen = ctx;
    (void)id;
    seen->n_done++;
    seen->outcome = response->outcome;
    seen->status = response->status;
    seen->body = str_copy(&arena, response->body);
    seen->content_type = str_copy(&arena, response->content_type);
    seen->retry_after_s = response->retry_after_s;
    seen->tries = response->tries;
    seen->permanent = response->permanent;
    memcpy(seen->message, response->message, sizeof seen->message);
}

static bool on_data(void *ctx, uint64_t id, Str piece, uint64_t total)
{
    Seen *seen = ctx;
    (void)id;
    buf_str(&seen->streamed, piece);
    seen->total = total;
    return seen->stop_after == 0 || seen->streamed.len < seen->stop_after;
}

static bool worth_retry(void *ctx, const NetResponse *response)
{
    Seen *seen = ctx;
    seen->n_asked++;
    CHECK(response->outcome == NET_ANSWERED && response->body.len > 0);
    return seen->worth;
}

static Net *net_for_tests(void)
{
    Net *net = NULL;
    Err err = ERR_INIT;
    NetOptions options = {.backoff_base_ms = 1, .seed = 1, .stall_timeout_ms = 1500};
    CHECK_OK(net_create(&options, &net, &err), &err);
    return net;
}

/** Drive until nothing is pending, at most 20 s. */
static void drain(Net *net)
{
    int64_t deadline = clock_ns() + INT64_C(20000000000);
    Err err = ERR_INIT;
    while (net_pending(net) > 0 && clock_ns() < deadline) {
        if (!CHECK_OK(net_poll(net, -1, 1000, &err), &err)) {
            return;
        }
    }
    CHECK_INT(net_pending(net), 0);
}

static void submit(Net *net, const char *rest, NetRequest request, Seen *seen, uint64_t *out_id)
{
    uint64_t id;
    Err err = ERR_INIT;
    if (request.url.len == 0) {
        request.url = mock_url(&mock, &arena, rest);
    }
    request.on_done = on_done;
    request.ctx = seen;
    CHECK_OK(net_submit(net, &request, &id, &err), &err);
    if (out_id != NULL) {
        *out_id = id;
    }
}

/** One request on a client of its own. */
static Seen fetch(const char *rest, NetRequest request)
{
    Seen seen = {.n_done = 0};
    Net *net = net_for_tests();
    if (net != NULL) {
        submit(net, rest, request, &seen, NULL);
        drain(net);
        net_destroy(net);
    }
    CHECK_INT(seen.n_done, 1);
    return seen;
}

static bool body_has(const Seen *seen, Str text)
{
    return str_find(seen->body, text, 0) != STR_NONE;
}

/** How many requests the server has seen with this key. */
static int64_t requests_with_key(const char *key, const char *text)
{
    Seen seen = fetch(str_printf(&arena, "log/%s", key).data, (NetRequest){.max_tries = 1});
    int64_t n = 0;
    Str needle = str_from_c(text);
    for (size_t at = str_find(seen.body, needle, 0); at != STR_NONE;
         at = str_find(seen.body, needle, at + 1)) {
        n++;
    }
    return n;
}

static void test_net__post_with_headers(void)
{
    NetHeader headers[] = {{STR("Content-Type"), STR("application/json")},
                           {STR("Authorization"), STR("Bearer secret")},
                           {STR("X-Empty"), STR("")}};
    Seen seen = fetch("ok/a?b=c", (NetRequest){.method = STR("POST"),
                                               .headers = headers,
                                               .n_headers = 3,
                                               .body = STR("{\"x\": \"y\"}")});
    CHECK_INT(seen.outcome, NET_ANSWERED);
    CHECK_INT(seen.status, 200);
    CHECK_INT(seen.tries, 1);
    CHECK_STR(seen.content_type, STR("application/json"));
    CHECK(body_has(&seen, STR("\"method\": \"POST\"")) && body_has(&seen, STR("/ok/a?b=c")));
    CHECK(body_has(&seen, STR("\"authorization\": \"Bearer secret\"")));
    CHECK(body_has(&seen, STR("\"x-empty\": \"\"")) &&
          body_has(&seen, STR("{\\\"x\\\": \\\"y\\\"}")));
    CHECK(!body_has(&seen, STR("expect")));
    CHECK(seen.retry_after_s < 0);
}

static void test_net__statuses(void)
{
    static const struct {
        int line;
        const char *rest;
        int max_tries;
        int status, tries;
    } cases[] = {
        {__LINE__, "status;code=500;times=2;key=s1", 0, 200, 3},
        {__LINE__, "status;code=503;times=9;key=s2", 0, 503, 5},
        {__LINE__, "status;code=529;times=1;key=s3", 0, 200, 2},
        {__LINE__, "status;code=408;times=1;key=s4", 0, 200, 2},
        {__LINE__, "status;code=500;times=2;key=s5", 1, 500, 1},
        {__LINE__, "status;code=401;key=s6", 0, 401, 1},
        {__LINE__, "status;code=404;key=s7", 0, 404, 1},
        {__LINE__, "status;code=400;key=s8", 0, 400, 1},
        {__LINE__, "status;code=204;key=s9", 0, 204, 1},
        {__LINE__, "status;code=429;times=9;key=sa", 0, 200, 10}, // more than 5: its own budget
        {__LINE__, "status;code=429;times=99;key=sb", 2, 429, 8},
        {__LINE__, "status;code=429;times=99;key=sc", 1, 429, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Seen seen = fetch(cases[i].rest, (NetRequest){.max_tries = cases[i].max_tries});
        bool ok = seen.outcome == NET_ANSWERED && seen.status == cases[i].status &&
                  seen.tries == cases[i].tries;
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: status %d, %d tries, %s\n", cases[i].line, seen.status,
                   seen.tries, seen.message);
        }
    }
}

static void test_net__retry_after_is_waited_for(void)
{
    int64_t start = clock_ns();
    Seen seen = fetch("status;code=429;times=1;key=ra;h=Retry-After:0.3", (NetRequest){0});
    int64_t took_ms = (clock_ns() - start) / 1000000;
    CHECK_INT(seen.status, 200);
    CHECK(took_ms >= 300);
    start = clock_ns();
    seen = fetch("status;code=503;times=1;key=rb;h=retry-after-ms:200;h=Retry-After:50",
                 (NetRequest){0});
    took_ms = (clock_ns() - start) / 1000000;
    CHECK_INT(seen.status, 200);
    CHECK(took_ms >= 200 && took_ms < 40000); // not the 50 s
    // Longer than two minutes: the caller decides.
    seen = fetch("status;code=429;times=1;key=rc;h=Retry-After:600", (NetRequest){0});
    CHECK_INT(seen.status, 429);
    CHECK_INT(seen.tries, 1);
    CHECK_NEAR(seen.retry_after_s, 600, 0);
}

static void test_net__a_429_holds_back_the_others(void)
{
    Net *net = net_for_tests();
    Seen first = {.n_done = 0};
    Seen second = {.n_done = 0};
    int64_t start = clock_ns();
    submit(net, "status;code=429;times=1;key=hb;h=Retry-After:1.5", (NetRequest){0}, &first, NULL);
    Err err = ERR_INIT;
    while (requests_with_key("hb", "\"path\"") < 1 && clock_ns() - start < INT64_C(15000000000)) {
        net_poll(net, -1, 20, &err);
    }
    for (int64_t logged = clock_ns(); clock_ns() - logged < INT64_C(500000000);) {
        net_poll(net, -1, 10, &err); // the 429 arrives
    }
    submit(net, "ok;key=hb", (NetRequest){0}, &second, NULL);
    while (second.n_done == 0 && net_poll(net, -1, 1000, &err)) {
    }
    CHECK((clock_ns() - start) / 1000000 >= 1500); // however slow this machine is
    drain(net);
    CHECK_INT(first.status, 200);
    CHECK_INT(second.status, 200);
    net_destroy(net);
}

static void test_net__the_caller_may_refuse_a_retry(void)
{
    Seen seen = {.worth = false};
    Net *net = net_for_tests();
    submit(net, "status;code=429;times=9;key=wr", (NetRequest){.worth_retry = worth_retry}, &seen,
           NULL);
    drain(net);
    CHECK_INT(seen.status, 429);
    CHECK_INT(seen.tries, 1);
    CHECK_INT(seen.n_asked, 1);
    seen = (Seen){.worth = true};
    submit(net, "status;code=500;times=2;key=ws", (NetRequest){.worth_retry = worth_retry}, &seen,
           NULL);
    drain(net);
    CHECK_INT(seen.status, 200);
    CHECK_INT(seen.n_asked, 2);
    net_destroy(net);
}

static void test_net__transport_failures(void)
{
    static const struct {
        int line;
        const char *rest;
        NetOutcome outcome;
        int tries;
        bool permanent;
        const char *message; // part of it
    } cases[] = {
        {__LINE__, "cut;times=2;key=t1", NET_ANSWERED, 3, false, ""},
        {__LINE__, "cutchunk;times=2;key=t2", NET_ANSWERED, 3, false, ""},
        {__LINE__, "empty;times=2;key=t3", NET_ANSWERED, 3, false, ""},
        {__LINE__, "reset;times=2;key=t4", NET_ANSWERED, 3, false, ""},
        {__LINE__, "cut;times=99;key=t5", NET_UNREACHED, 5, false, "http://127.0.0.1:"},
        {__LINE__, "garbage;times=1;key=t6", NET_ANSWERED, 2, false, ""},
        {__LINE__, "garbage;times=9;key=t7", NET_UNREACHED, 2, false, ""}, // once more, no further
        {__LINE__, "badgzip;times=1;key=t8", NET_ANSWERED, 2, false, ""},
        {__LINE__, "gzip;key=t9", NET_ANSWERED, 1, false, ""},
        {__LINE__, "bigheader;key=ta", NET_UNREACHED, 1, true, ""},
        {__LINE__, "manyheaders;key=tb", NET_UNREACHED, 1, true, "headers"},
        {__LINE__, "huge;bytes=3000000;key=tc", NET_UNREACHED, 1, true, "larger than allowed"},
        {__LINE__, "gzipbomb;bytes=30000000;key=td", NET_UNREACHED, 1, true, "larger than allowed"},
        {__LINE__, "slowbody;s=30;times=1;key=te", NET_ANSWERED, 2, false, ""}, // a stall
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Seen seen = fetch(cases[i].rest, (NetRequest){.max_body_bytes = 1000000});
        bool ok = seen.outcome == cases[i].outcome && seen.tries == cases[i].tries &&
                  seen.permanent == cases[i].permanent &&
                  strstr(seen.message, cases[i].message) != NULL &&
                  seen.status == (cases[i].outcome == NET_ANSWERED ? 200 : 0);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: outcome %d, status %d, %d tries, permanent %d, '%s'\n",
                   cases[i].line, (int)seen.outcome, seen.status, seen.tries, seen.permanent,
                   seen.message);
        }
        if (cases[i].outcome == NET_ANSWERED) {
            CHECK(body_has(&seen, STR("\"method\": \"GET\"")));
        }
    }
}

static void test_net__time_outs(void)
{
    int64_t start = clock_ns();
    Seen seen = fetch("slowheader;s=30;key=to", (NetRequest){.timeout_ms = 200, .max_tries = 2});
    int64_t took_ms = (clock_ns() - start) / 1000000;
    CHECK_INT(seen.outcome, NET_UNREACHED);
    CHECK_INT(seen.tries, 2);
    CHECK(!seen.permanent);
    CHECK(took_ms >= 390 && took_ms < 25000); // not the 30 s
    // Waiting long for the first byte is no stall.
    seen =
        fetch("slowheader;s=0.6;times=1;key=tp", (NetRequest){.timeout_ms = 5000, .max_tries = 1});
    CHECK_INT(seen.outcome, NET_UNREACHED); // the mode closes after its sleep
    CHECK_INT(seen.tries, 1);
    CHECK(strstr(seen.message, "stopped coming") == NULL);
}

static void test_net__nobody_listens(void)
{
    // A port that was free a moment ago: bound and closed by the kernel's choice.
    Seen seen = fetch("", (NetRequest){.url = STR("http://127.0.0.1:1/"), .max_tries = 2});
    CHECK_INT(seen.outcome, NET_UNREACHED);
    CHECK_INT(seen.tries, 2);
    CHECK(!seen.permanent);
    CHECK(strstr(seen.message, "127.0.0.1:1") != NULL);
}

static void test_net__a_stale_connection_is_retried_at_once(void)
{
    Net *net = net_for_tests();
    Seen seen = {.n_done = 0};
    submit(net, "stale;key=st", (NetRequest){0}, &seen, NULL);
    drain(net);
    CHECK_INT(seen.status, 200);
    Seen again = {.n_done = 0};
    submit(net, "stale;key=st", (NetRequest){.max_tries = 2}, &again, NULL);
    drain(net);
    CHECK_INT(again.status, 200);
    CHECK(again.tries <= 2);
    net_destroy(net);
}

static void test_net__redirects(void)
{
    NetHeader headers[] = {{STR("Authorization"), STR("Bearer secret")}};
    NetRequest post = {
        .method = STR("POST"), .headers = headers, .n_headers = 1, .body = STR("data")};
    NetRequest get = {.headers = headers, .n_headers = 1};
    Seen seen = fetch("redirect;to=same;code=307;key=r1", post);
    CHECK_INT(seen.status, 200);
    CHECK(body_has(&seen, STR("\"body\": \"data\"")) && body_has(&seen, STR("Bearer secret")));
    CHECK(body_has(&seen, STR("/after")));
    seen = fetch("redirect;to=same;code=302;key=r2", get);
    CHECK_INT(seen.status, 200);
    seen = fetch("redirect;to=same;code=302;key=r3", post); // would turn into a GET: not ours to do
    CHECK_INT(seen.status, 302);
    seen = fetch("redirect;to=other;code=307;key=r4", post);
    CHECK_INT(seen.status, 307);
    seen = fetch("redirect;to=other;code=302;key=r5", get);
    CHECK_INT(seen.status, 302);
    get.follow_hosts = true;
    seen = fetch("redirect;to=other;code=302;key=r6", get);
    CHECK_INT(seen.status, 200);
    CHECK(body_has(&seen, STR("localhost")) && !body_has(&seen, STR("secret")));
    CHECK_INT(requests_with_key("r6", "Bearer secret"), 1); // the first host alone saw it
    post.follow_hosts = true;
    seen = fetch("redirect;to=other;code=307;key=r7", post);
    CHECK_INT(seen.status, 307);
    seen = fetch("redirect;to=loop;code=302;key=r8", get);
    CHECK_INT(seen.status, 302);
    CHECK_INT(requests_with_key("r8", "\"path\""), 11);
    seen = fetch("redirect;to=file;code=302;key=r9", get);
    CHECK_INT(seen.status, 302);
    seen = fetch("redirect;to=user;code=302;key=ra", get);
    CHECK_INT(seen.status, 302);
}

/** The server's resource: byte i is (31 i + i / 251) mod 256. */
static bool is_resource(Str data, size_t from)
{
    for (size_t i = 0; i < data.len; i++) {
        size_t at = from + i;
        if ((unsigned char)data.data[i] != (unsigned char)(at * 31 + at / 251)) {
            return false;
        }
    }
    return true;
}

static void test_net__streams_resume_where_they_were_cut(void)
{
    static const struct {
        int line;
        const char *rest;
        uint64_t from;
        NetOutcome outcome;
        int tries;
    } cases[] = {
        {__LINE__, "range;size=100000;key=d1", 0, NET_ANSWERED, 1},
        {__LINE__, "range;size=100000;key=d2", 777, NET_ANSWERED, 1},
        {__LINE__, "range;size=100000;cutat=5000;cuts=3;key=d3", 0, NET_ANSWERED, 4},
        {__LINE__, "range;size=100000;cutat=5000;cuts=2;key=d4", 777, NET_ANSWERED, 3},
        {__LINE__, "range;size=100000;norange=1;key=d5", 777, NET_ANSWERED, 1},
        {__LINE__, "range;size=100000;norange=1;cutat=5000;cuts=2;key=d6", 777, NET_ANSWERED, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Seen seen = {.n_done = 0};
        Net *net = net_for_tests();
        submit(net, cases[i].rest, (NetRequest){.on_data = on_data, .resume_from = cases[i].from},
               &seen, NULL);
        drain(net);
        bool ok = seen.outcome == cases[i].outcome && seen.tries == cases[i].tries &&
                  seen.streamed.len == 100000 - cases[i].from && seen.total == 100000 &&
                  seen.body.len == 0 && is_resource(buf_view(&seen.streamed), cases[i].from);
        CHECK(ok);
        if (!ok) {
            printf("# case of line %d: outcome %d, status %d, %d tries, %zu bytes of %llu, '%s'\n",
                   cases[i].line, (int)seen.outcome, seen.status, seen.tries, seen.streamed.len,
                   (unsigned long long)seen.total, seen.message);
        }
        buf_finish(&seen.streamed);
        net_destroy(net);
    }
}

static void test_net__streams_end_early(void)
{
    Net *net = net_for_tests();
    Seen seen = {.stop_after = 1};
    submit(net, "range;size=500000;key=e1", (NetRequest){.on_data = on_data}, &seen, NULL);
    drain(net);
    CHECK_INT(seen.outcome, NET_CANCELLED);
    CHECK(seen.streamed.len > 0 && seen.streamed.len < 500000);
    buf_finish(&seen.streamed);
    // An error's body is kept, not streamed.
    seen = (Seen){.n_done = 0};
    submit(net, "status;code=404;body=gone;key=e2", (NetRequest){.on_data = on_data}, &seen, NULL);
    drain(net);
    CHECK_INT(seen.status, 404);
    CHECK_STR(seen.body, STR("gone"));
    CHECK_INT(seen.streamed.len, 0);
    // Nothing is left to fetch.
    seen = (Seen){.n_done = 0};
    submit(net, "range;size=100;key=e3", (NetRequest){.on_data = on_data, .resume_from = 100},
           &seen, NULL);
    drain(net);
    CHECK_INT(seen.status, 416);
    // A server that sends other bytes than those asked for is not believed.
    seen = (Seen){.n_done = 0};
    submit(net, "range;size=1000;shift=3;key=e4",
           (NetRequest){.on_data = on_data, .resume_from = 100, .max_tries = 2}, &seen, NULL);
    drain(net);
    CHECK_INT(seen.outcome, NET_UNREACHED);
    CHECK_INT(seen.streamed.len, 0);
    // The limit, where one is given.
    seen = (Seen){.n_done = 0};
    submit(net, "huge;bytes=100000;key=e5",
           (NetRequest){.on_data = on_data, .max_body_bytes = 50000}, &seen, NULL);
    drain(net);
    CHECK_INT(seen.outcome, NET_UNREACHED);
    CHECK(seen.permanent && seen.streamed.len <= 50000);
    buf_finish(&seen.streamed);
    net_destroy(net);
}

static void test_net__cancelling(void)
{
    Net *net = net_for_tests();
    Seen running = {.n_done = 0};
    Seen waiting = {.n_done = 0};
    uint64_t running_id;
    uint64_t waiting_id;
    Err err = ERR_INIT;
    submit(net, "slowheader;s=30;key=c1", (NetRequest){0}, &running, &running_id);
    submit(net, "status;code=500;h=Retry-After:60;key=c2", (NetRequest){0}, &waiting, &waiting_id);
    for (int i = 0; i < 20; i++) {
        net_poll(net, -1, 10, &err);
    }
    CHECK_INT(net_pending(net), 2);
    net_cancel(net, running_id);
    net_cancel(net, waiting_id);
    net_cancel(net, waiting_id);
    net_cancel(net, 12345);
    CHECK_INT(running.n_done, 0); // on_done comes from net_poll only
    CHECK_OK(net_poll(net, -1, 5000, &err), &err);
    CHECK_INT(running.n_done, 1);
    CHECK_INT(running.outcome, NET_CANCELLED);
    CHECK_INT(waiting.n_done, 1);
    CHECK_INT(waiting.outcome, NET_CANCELLED);
    CHECK_INT(net_pending(net), 0);
    // Destroying cancels what is left.
    Seen left[2] = {{.n_done = 0}};
    submit(net, "slowheader;s=30;key=c3", (NetRequest){0}, &left[0], NULL);
    net_poll(net, -1, 10, &err);
    submit(net, "ok", (NetRequest){0}, &left[1], NULL);
    net_destroy(net);
    CHECK(left[0].n_done == 1 && left[0].outcome == NET_CANCELLED);
    CHECK(left[1].n_done == 1 && left[1].outcome == NET_CANCELLED);
    net_destroy(NULL);
}

static void test_net__many_at_once_within_the_limit(void)
{
    enum { N = 100 };
    static Seen seen[N];
    Net *net = NULL;
    Err err = ERR_INIT;
    NetOptions options = {.max_connections = 4, .backoff_base_ms = 1};
    CHECK_OK(net_create(&options, &net, &err), &err);
    for (size_t i = 0; i < N; i++) {
        seen[i] = (Seen){.n_done = 0};
        submit(net, "ok;key=many", (NetRequest){0}, &seen[i], NULL);
    }
    CHECK_INT(net_pending(net), N);
    drain(net);
    for (size_t i = 0; i < N; i++) {
        CHECK(seen[i].n_done == 1 && seen[i].status == 200);
    }
    net_destroy(net);
    // Connections are kept and used again: at most four different ones.
    Seen log = fetch("log/many", (NetRequest){0});
    Str rest = log.body;
    Str connections[8];
    size_t n = 0;
    Str head;
    while (str_cut(rest, STR("\"connection\": "), &head, &rest) && n < 8) {
        Str id;
        Str after;
        size_t i = 0;
        str_cut(rest, STR("}"), &id, &after);
        while (i < n && !str_eq(connections[i], id)) {
            i++;
        }
        if (i == n) {
            connections[n++] = id;
        }
    }
    CHECK(n >= 1 && n <= 4);
}

static void test_net__poll_wakes(void)
{
    Net *net = net_for_tests();
    Err err = ERR_INIT;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int64_t start = clock_ns();
    CHECK_OK(net_poll(net, fd, 150, &err), &err); // nothing to do: the whole time
    int64_t took_ms = (clock_ns() - start) / 1000000;
    CHECK(took_ms >= 140);
    uint64_t one = 1;
    CHECK(write(fd, &one, sizeof one) == sizeof one);
    start = clock_ns();
    CHECK_OK(net_poll(net, fd, 10000, &err), &err);
    CHECK((clock_ns() - start) / 1000000 < 9000); // not the whole time
    close(fd);
    net_destroy(net);
}

static void test_net__bad_requests_are_refused(void)
{
    Net *net = net_for_tests();
    NetHeader broken[] = {{STR("X"), STR("a\r\nInjected: 1")}};
    NetHeader bad_name[] = {{STR("X: y"), STR("a")}};
    const NetRequest cases[] = {
        {.url = STR("file:///etc/passwd")},
        {.url = STR("ftp://x/")},
        {.url = STR("http://")},
        {.url = STR("http://user:password@host/")},
        {.url = STR("http://a b/")},
        {.url = STR("http://a/\r\nx")},
        {.url = STR("http://a/\0x")},
        {.url = STR("http://a/"), .method = STR("DELETE")},
        {.url = STR("http://a/"), .headers = broken, .n_headers = 1},
        {.url = STR("http://a/"), .headers = bad_name, .n_headers = 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Err err = ERR_INIT;
        uint64_t id;
        Seen seen = {.n_done = 0};
        NetRequest request = cases[i];
        request.on_done = on_done;
        request.ctx = &seen;
        CHECK(!net_submit(net, &request, &id, &err));
        CHECK_INT(err.code, ERR_USAGE);
        CHECK_INT(seen.n_done, 0);
    }
    CHECK_INT(net_pending(net), 0);
    net_destroy(net);
}

static char logged[4096];

static void keep_log(void *ctx, LogLevel level, const char *message)
{
    (void)ctx;
    (void)level;
    strncat(logged, message, sizeof logged - strlen(logged) - 1);
}

static void test_net__secrets_are_not_logged(void)
{
    log_sink_set(keep_log, NULL, LOG_DEBUG);
    NetHeader headers[] = {{STR("Authorization"), STR("Bearer secret")}};
    fetch("status;code=500;times=1;key=lg?key=secret",
          (NetRequest){.headers = headers, .n_headers = 1});
    log_sink_set(NULL, NULL, LOG_DEBUG);
    CHECK(strstr(logged, "status 500") != NULL);
    CHECK(strstr(logged, "secret") == NULL);
}

int main(void)
{
    if (!mock_start(&mock)) {
        tap_skip("the HTTP client", "python3 did not start the mock server");
        mock_stop(&mock);
        return tap_done();
    }
    tap_run("a POST with headers and a body", test_net__post_with_headers);
    tap_run("which statuses are retried, and how often", test_net__statuses);
    tap_run("Retry-After is waited for, up to two minutes", test_net__retry_after_is_waited_for);
    tap_run("a 429 holds back the others", test_net__a_429_holds_back_the_others);
    tap_run("the caller may refuse a retry", test_net__the_caller_may_refuse_a_retry);
    tap_run("what transport failures lead to", test_net__transport_failures);
    tap_run("time-outs of a try", test_net__time_outs);
    tap_run("nobody listens", test_net__nobody_listens);
    tap_run("a stale connection is retried", test_net__a_stale_connection_is_retried_at_once);
    tap_run("redirects stay on their host and keep secrets", test_net__redirects);
    tap_run("streams go on where they were cut", test_net__streams_resume_where_they_were_cut);
    tap_run("streams that end early", test_net__streams_end_early);
    tap_run("cancelling and destroying", test_net__cancelling);
    tap_run("many requests over few connections", test_net__many_at_once_within_the_limit);
    tap_run("poll wakes for the fd and the time", test_net__poll_wakes);
    tap_run("bad requests are refused", test_net__bad_requests_are_refused);
    tap_run("secrets are not logged", test_net__secrets_are_not_logged);
    mock_stop(&mock);
    arena_finish(&arena);
    return tap_done();
}
