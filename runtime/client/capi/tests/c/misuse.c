// Every function used wrongly: NULL, crooked pointers, text that is none, numbers out of range, handles that were closed or are of
// another kind, twice the same, and threads that close what others use. All of it is an error, and none of it does harm.

#include "check.h"

#include <pthread.h>
#include <string.h>

#define BAD SYNOD_STATUS_BAD_POINTER
#define UNKNOWN SYNOD_STATUS_UNKNOWN_HANDLE
#define NORMAL SYNOD_PRIORITY_NORMAL

static const char not_utf8[] = "\xff\xfe";
static char too_long[SYNOD_TEXT_MAX + 2];

static void nothing_attaches_before_init(void) {
    synod_handle client = 7;
    IS(synod_attach("ada", NULL, &client), SYNOD_STATUS_NOT_INITIALISED);
    CHECK(client == 0);
    IS(synod_init(SYNOD_ABI + 1), SYNOD_STATUS_NOT_INITIALISED);
    OK(synod_init(SYNOD_ABI));
    OK(synod_init(SYNOD_ABI));
    CHECK(strlen(synod_version()) >= strlen("0.0.0"));
}

static void attaching_wrongly_is_refused(void) {
    synod_handle client = 7, crooked[2];
    synod_options options = {0};
    IS(synod_attach(NULL, NULL, &client), BAD);
    CHECK(client == 0);
    IS(synod_attach("ada", NULL, NULL), BAD);
    IS(synod_attach("ada", NULL, (synod_handle *)((char *)crooked + 1)), BAD);
    IS(synod_attach("ada", (synod_options *)((char *)&options + 1), &client), BAD);
    IS(synod_attach(not_utf8, NULL, &client), SYNOD_STATUS_NOT_UTF8);
    IS(synod_attach(too_long, NULL, &client), SYNOD_STATUS_TOO_LONG);
    CHECK(synod_attach("", NULL, &client) != SYNOD_STATUS_OK && client == 0);
    CHECK(synod_attach("no name", NULL, &client) != SYNOD_STATUS_OK && client == 0);
    options.socket = "/nowhere/at/all";
    IS(synod_attach("ada", &options, &client), SYNOD_STATUS_NO_NODE);
    options.socket = not_utf8;
    IS(synod_attach("ada", &options, &client), SYNOD_STATUS_NOT_UTF8);
    options = (synod_options){.node = too_long};
    IS(synod_attach("ada", &options, &client), SYNOD_STATUS_TOO_LONG);
    options = (synod_options){.lane_bytes = 3};
    IS(synod_attach("ada", &options, &client), SYNOD_STATUS_INVALID);
    options = (synod_options){.lane_bytes = SIZE_MAX};
    IS(synod_attach("ada", &options, &client), SYNOD_STATUS_INVALID);
}

// Every function that takes a handle, with one that is none of the kind.
static void a_handle_that_is_none_is_refused(synod_handle handle, bool releasable) {
    synod_handle opened = 7;
    synod_receipt receipt;
    synod_loaned loan;
    synod_message message;
    bool attached = true;
    IS(synod_is_attached(handle, &attached), UNKNOWN);
    CHECK(!attached);
    IS(synod_wait_attached(handle, 1), UNKNOWN);
    IS(synod_send(handle, "x", NORMAL, "x", 1, 1, &receipt), UNKNOWN);
    IS(synod_send_expiring(handle, "x", NORMAL, "x", 1, 1, &receipt), UNKNOWN);
    IS(synod_loan(handle, 1, &loan), UNKNOWN);
    CHECK(loan.handle == 0 && loan.bytes == NULL && loan.len == 0);
    IS(synod_send_loan(handle, handle, "x", NORMAL, 1, &receipt), UNKNOWN);
    IS(synod_subscribe(handle, "x", &opened), UNKNOWN);
    CHECK(opened == 0);
    IS(synod_serve(handle, "x", &opened), UNKNOWN);
    IS(synod_request(handle, "x", NORMAL, "x", 1, 1, &message), UNKNOWN);
    IS(synod_detach(handle), UNKNOWN);
    if (!releasable) IS(synod_release(handle), UNKNOWN);
}

static void what_is_sent_wrongly_is_refused(synod_handle ada) {
    synod_loaned loan;
    synod_message message;
    synod_receipt crooked[2];
    IS(synod_send(ada, NULL, NORMAL, "x", 1, 1, NULL), BAD);
    IS(synod_send(ada, "x", NORMAL, NULL, 1, 1, NULL), BAD);
    IS(synod_send(ada, "x", NORMAL, "x", 1, 1, (synod_receipt *)((char *)crooked + 1)), BAD);
    IS(synod_send(ada, "x", -1, "x", 1, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send(ada, "x", 6, "x", 1, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send(ada, "x", NORMAL, "x", SIZE_MAX, 1, NULL), SYNOD_STATUS_TOO_LARGE);
    IS(synod_send(ada, "", NORMAL, "x", 1, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send(ada, "a..b", NORMAL, "x", 1, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send(ada, "a.*", NORMAL, "x", 1, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send(ada, not_utf8, NORMAL, "x", 1, 1, NULL), SYNOD_STATUS_NOT_UTF8);
    IS(synod_send(ada, too_long, NORMAL, "x", 1, 1, NULL), SYNOD_STATUS_TOO_LONG);
    IS(synod_send(ada, "x", NORMAL, NULL, 0, SYNOD_FOREVER, NULL), SYNOD_STATUS_NOBODY_LISTENS);
    IS(synod_send_expiring(ada, NULL, NORMAL, "x", 1, 1, NULL), BAD);
    IS(synod_send_expiring(ada, "x", 99, "x", 1, SYNOD_FOREVER, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send_expiring(ada, "x", NORMAL, "x", 1, 0, NULL), SYNOD_STATUS_NOBODY_LISTENS);
    IS(synod_request(ada, "x", NORMAL, "x", 1, 1, NULL), BAD);
    IS(synod_request(ada, NULL, NORMAL, "x", 1, 1, &message), BAD);
    IS(synod_request(ada, "x", NORMAL, NULL, 9, 1, &message), BAD);
    IS(synod_request(ada, "x", 17, "x", 1, 1, &message), SYNOD_STATUS_INVALID);
    IS(synod_request(ada, "x", NORMAL, "x", 1, SYNOD_FOREVER, &message), SYNOD_STATUS_NOBODY_LISTENS);
    IS(synod_is_attached(ada, NULL), BAD);
    IS(synod_loan(ada, 1, NULL), BAD);
    IS(synod_loan(ada, SIZE_MAX, &loan), SYNOD_STATUS_TOO_LARGE);
    OK(synod_loan(ada, 0, &loan));
    IS(synod_send_loan(ada, loan.handle, NULL, NORMAL, 1, NULL), BAD);
    IS(synod_send_loan(ada, loan.handle, "x", -7, 1, NULL), SYNOD_STATUS_INVALID);
    IS(synod_send_loan(ada, ada, "x", NORMAL, 1, NULL), UNKNOWN);
    a_handle_that_is_none_is_refused(loan.handle, true);
    OK(synod_release(loan.handle));
    IS(synod_release(loan.handle), UNKNOWN);
    IS(synod_send_loan(ada, loan.handle, "x", NORMAL, 1, NULL), UNKNOWN);
}

static void what_is_received_wrongly_is_refused(synod_handle ada) {
    synod_handle news, same;
    synod_message message, crooked[2];
    IS(synod_subscribe(ada, NULL, &news), BAD);
    IS(synod_subscribe(ada, "news", NULL), BAD);
    IS(synod_subscribe(ada, "a.>.b", &news), SYNOD_STATUS_INVALID);
    IS(synod_subscribe(ada, not_utf8, &news), SYNOD_STATUS_NOT_UTF8);
    IS(synod_serve(ada, "", &news), SYNOD_STATUS_INVALID);
    IS(synod_serve(ada, NULL, NULL), BAD);
    OK(synod_subscribe(ada, "news", &news));
    OK(synod_subscribe(ada, "news", &same));
    OK(synod_unsubscribe(same));
    IS(synod_receive(news, 0, NULL), BAD);
    IS(synod_receive(news, 0, (synod_message *)((char *)crooked + 1)), BAD);
    IS(synod_receive(ada, SYNOD_FOREVER, &message), UNKNOWN);
    a_handle_that_is_none_is_refused(news, false);
    OK(synod_send(ada, "news", NORMAL, "x", 1, PATIENCE_MS, NULL));
    OK(synod_receive(news, PATIENCE_MS, &message));
    a_handle_that_is_none_is_refused(message.handle, true);
    IS(synod_reply(message.handle, NULL, 1), BAD);
    IS(synod_reply(message.handle, "x", SIZE_MAX), SYNOD_STATUS_TOO_LARGE);
    IS(synod_reply(message.handle, "x", 1), SYNOD_STATUS_NOT_A_REQUEST);
    IS(synod_copy(message.handle, 0, NULL, 1), BAD);
    IS(synod_copy(message.handle, SIZE_MAX, NULL, 2), SYNOD_STATUS_INVALID);
    OK(synod_copy(message.handle, message.len, NULL, 0));
    IS(synod_fail(message.handle, NULL), BAD);
    IS(synod_fail(message.handle, not_utf8), SYNOD_STATUS_NOT_UTF8);
    IS(synod_fail(message.handle, "why"), SYNOD_STATUS_NOT_A_REQUEST);
    IS(synod_reply(news, "x", 1), UNKNOWN);
    IS(synod_copy(news, 0, NULL, 0), UNKNOWN);
    IS(synod_unsubscribe(message.handle), UNKNOWN);
    OK(synod_release(message.handle));
    IS(synod_release(message.handle), UNKNOWN);
    IS(synod_reply(message.handle, "x", 1), UNKNOWN);
    IS(synod_fail(message.handle, "why"), UNKNOWN);
    OK(synod_unsubscribe(news));
    IS(synod_unsubscribe(news), UNKNOWN);
    IS(synod_receive(news, SYNOD_FOREVER, &message), UNKNOWN);
}

// Waits on a subscription until another thread closes it: before the wait, or during it.
static void *waits(void *subscription) {
    synod_message message;
    synod_status came = SYNOD_STATUS_OK;
    while (came == SYNOD_STATUS_OK) {
        came = synod_receive(*(synod_handle *)subscription, SYNOD_FOREVER, &message);
        if (came == SYNOD_STATUS_OK) OK(synod_release(message.handle));
    }
    CHECK(came == SYNOD_STATUS_CLOSED || came == UNKNOWN);
    return NULL;
}

// Sends over a client until another thread detaches it.
static void *sends(void *client) {
    synod_status came = SYNOD_STATUS_OK;
    while (came == SYNOD_STATUS_OK || came == SYNOD_STATUS_NOBODY_LISTENS || came == SYNOD_STATUS_TIMED_OUT)
        came = synod_send(*(synod_handle *)client, "news", NORMAL, "x", 1, 1, NULL);
    CHECK(came == SYNOD_STATUS_CLOSED || came == UNKNOWN || came == SYNOD_STATUS_UNREACHABLE);
    return NULL;
}

static void what_others_use_may_be_closed_at_any_moment(void) {
    char name[16];
    for (int turn = 0; turn < 20; turn++) {
        synod_handle client, news, sums;
        pthread_t threads[4];
        snprintf(name, sizeof name, "eve-%d", turn);
        OK(synod_attach(name, NULL, &client));
        OK(synod_subscribe(client, "news", &news));
        OK(synod_serve(client, "sum", &sums));
        CHECK(pthread_create(&threads[0], NULL, waits, &news) == 0);
        CHECK(pthread_create(&threads[1], NULL, waits, &news) == 0);
        CHECK(pthread_create(&threads[2], NULL, waits, &sums) == 0);
        CHECK(pthread_create(&threads[3], NULL, sends, &client) == 0);
        if (turn % 2 == 0) OK(synod_unsubscribe(news));
        OK(synod_detach(client));
        for (int n = 0; n < 4; n++) CHECK(pthread_join(threads[n], NULL) == 0);
        a_handle_that_is_none_is_refused(client, false);
        IS(synod_unsubscribe(sums), UNKNOWN);
    }
}

// A message and a loan outlive their client, and are good until they are released.
static void what_a_client_leaves_behind_can_still_be_read(void) {
    synod_handle ada, ben, news;
    synod_message message;
    synod_loaned loan;
    OK(synod_attach("old-ada", NULL, &ada));
    OK(synod_attach("old-ben", NULL, &ben));
    OK(synod_subscribe(ada, "old.news", &news));
    OK(synod_loan(ben, 100000, &loan));
    memset(loan.bytes, 'x', loan.len);
    OK(synod_send_loan(ben, loan.handle, "old.news", NORMAL, PATIENCE_MS, NULL));
    OK(synod_receive(news, PATIENCE_MS, &message));
    OK(synod_loan(ben, 100000, &loan));
    OK(synod_detach(ben));
    OK(synod_detach(ada));
    for (size_t n = 0; n < 100000; n++) CHECK(message.bytes[n] == 'x');
    memset(loan.bytes, 'y', loan.len);
    IS(synod_send_loan(ben, loan.handle, "x", NORMAL, 1, NULL), UNKNOWN);
    OK(synod_release(message.handle));
    OK(synod_release(loan.handle));
}

int main(void) {
    memset(too_long, 'x', sizeof too_long - 1);
    nothing_attaches_before_init();
    attaching_wrongly_is_refused();
    static const synod_handle none[] = {0, 1, 4711, UINT64_MAX};
    for (size_t n = 0; n < sizeof none / sizeof *none; n++) a_handle_that_is_none_is_refused(none[n], false);
    synod_handle ada, twice;
    OK(synod_attach("ada", NULL, &ada));
    CHECK(synod_attach("ada", NULL, &twice) != SYNOD_STATUS_OK && twice == 0);
    IS(synod_release(ada), UNKNOWN);
    what_is_sent_wrongly_is_refused(ada);
    what_is_received_wrongly_is_refused(ada);
    what_others_use_may_be_closed_at_any_moment();
    what_a_client_leaves_behind_can_still_be_read();
    OK(synod_detach(ada));
    a_handle_that_is_none_is_refused(ada, false);
    printf("well\n");
    return 0;
}
