// The quick test: two agents, six priorities, questions and answers, a mebibyte in place, nobody there, and a node that goes and comes.
//
// Whoever runs it reads "kill" and "start" from it, does so with the node, and answers with a line each time.

#include "check.h"

#include <pthread.h>
#include <string.h>

#define MEBIBYTE (1u << 20)

static synod_handle attached(const char *name, size_t capacity) {
    synod_options options = {.capacity = capacity};
    synod_handle client;
    OK(synod_attach(name, &options, &client));
    return client;
}

static synod_handle subscribed(synod_handle client, const char *pattern) {
    synod_handle subscription;
    OK(synod_subscribe(client, pattern, &subscription));
    return subscription;
}

static void sent(synod_handle client, const char *subject, int32_t priority, const char *text) {
    synod_receipt receipt;
    OK(synod_send(client, subject, priority, text, strlen(text), PATIENCE_MS, &receipt));
    CHECK(receipt.accepted == 1 && receipt.refused == 0);
}

static bool says(const synod_message *message, const char *text) {
    return message->len == strlen(text) && memcmp(message->bytes, text, message->len) == 0;
}

static void receives(synod_handle subscription, const char *subject, int32_t priority, const char *text) {
    synod_message message;
    OK(synod_receive(subscription, PATIENCE_MS, &message));
    CHECK(says(&message, text));
    CHECK(strcmp(message.subject, subject) == 0 && strcmp(message.source, "ben") == 0);
    CHECK(message.priority == priority && !message.is_request);
    OK(synod_release(message.handle));
}

static void the_most_urgent_of_six_priorities_is_received_first(synod_handle ada, synod_handle ben) {
    static const char *const names[] = {"CRITICAL", "HIGH", "NORMAL", "LOW", "BATCH", "BACKGROUND"};
    synod_handle work = subscribed(ada, "work.*"), sign = subscribed(ada, "sign");
    for (int32_t priority = SYNOD_PRIORITY_BACKGROUND; priority >= SYNOD_PRIORITY_CRITICAL; priority--)
        sent(ben, "work.item", priority, names[priority]);
    // Urgent messages and all others have a way each, in order: what was sent before these two is there when they are.
    sent(ben, "sign", SYNOD_PRIORITY_HIGH, "urgent");
    receives(sign, "sign", SYNOD_PRIORITY_HIGH, "urgent");
    sent(ben, "sign", SYNOD_PRIORITY_BACKGROUND, "other");
    receives(sign, "sign", SYNOD_PRIORITY_BACKGROUND, "other");
    for (int32_t priority = SYNOD_PRIORITY_CRITICAL; priority <= SYNOD_PRIORITY_BACKGROUND; priority++)
        receives(work, "work.item", priority, names[priority]);
    synod_message none;
    IS(synod_receive(work, 0, &none), SYNOD_STATUS_TIMED_OUT);
    CHECK(none.handle == 0 && none.bytes == NULL);
    OK(synod_unsubscribe(work));
    OK(synod_unsubscribe(sign));
}

// Answers the first question, says of the second that it failed, and forgets the third.
static void *answers(void *sums) {
    synod_message question;
    for (int turn = 0; turn < 3; turn++) {
        OK(synod_receive(*(synod_handle *)sums, SYNOD_FOREVER, &question));
        CHECK(question.is_request && says(&question, "1+2") && strcmp(question.source, "ada") == 0);
        if (turn == 0) {
            OK(synod_reply(question.handle, "3", 1));
            IS(synod_reply(question.handle, "4", 1), SYNOD_STATUS_CANCELLED);
            CHECK(says(&question, "1+2"));
        } else if (turn == 1) {
            OK(synod_fail(question.handle, "no chalk"));
        }
        OK(synod_release(question.handle));
    }
    return NULL;
}

static void a_question_is_answered_or_it_is_told_why_not(synod_handle ada, synod_handle ben) {
    synod_handle sums;
    pthread_t answering;
    synod_message answer;
    OK(synod_serve(ben, "sum", &sums));
    CHECK(pthread_create(&answering, NULL, answers, &sums) == 0);
    OK(synod_request(ada, "sum", SYNOD_PRIORITY_HIGH, "1+2", 3, PATIENCE_MS, &answer));
    CHECK(says(&answer, "3") && strcmp(answer.source, "ben") == 0 && strcmp(answer.subject, "sum") == 0);
    IS(synod_reply(answer.handle, "thanks", 6), SYNOD_STATUS_NOT_A_REQUEST);
    OK(synod_release(answer.handle));
    IS(synod_request(ada, "sum", SYNOD_PRIORITY_HIGH, "1+2", 3, PATIENCE_MS, &answer), SYNOD_STATUS_FAILED);
    CHECK(strstr(synod_last_error_text(), "no chalk") != NULL);
    IS(synod_request(ada, "sum", SYNOD_PRIORITY_HIGH, "1+2", 3, PATIENCE_MS, &answer), SYNOD_STATUS_ABANDONED);
    CHECK(pthread_join(answering, NULL) == 0);
    IS(synod_request(ada, "sum", SYNOD_PRIORITY_HIGH, "1+2", 3, 5, &answer), SYNOD_STATUS_TIMED_OUT);
    OK(synod_unsubscribe(sums));
}

static void who_is_not_there_is_an_error_at_once(synod_handle ben) {
    synod_receipt receipt;
    synod_message answer;
    IS(synod_send(ben, "nobody.here", SYNOD_PRIORITY_NORMAL, "x", 1, SYNOD_FOREVER, &receipt),
       SYNOD_STATUS_NOBODY_LISTENS);
    CHECK(receipt.accepted == 0 && receipt.refused == 0);
    IS(synod_request(ben, "nobody.here", SYNOD_PRIORITY_NORMAL, "x", 1, SYNOD_FOREVER, &answer),
       SYNOD_STATUS_NOBODY_LISTENS);
    CHECK(strstr(synod_last_error_text(), "nobody.here") != NULL);
}

static void a_mebibyte_is_filled_in_place_and_arrives_whole(synod_handle ada, synod_handle ben) {
    synod_handle large = subscribed(ada, "large");
    for (uint32_t turn = 0; turn < 8; turn++) {
        synod_loaned loan;
        synod_receipt receipt;
        synod_message message;
        OK(synod_loan(ben, MEBIBYTE, &loan));
        CHECK(loan.len == MEBIBYTE);
        for (uint32_t n = 0; n < MEBIBYTE; n++) loan.bytes[n] = (uint8_t)(n * 31 + (n >> 9) + turn);
        IS(synod_send_loan(ben, loan.handle, "nobody.here", SYNOD_PRIORITY_NORMAL, PATIENCE_MS, &receipt),
           SYNOD_STATUS_NOBODY_LISTENS);
        OK(synod_send_loan(ben, loan.handle, "large", SYNOD_PRIORITY_BATCH, PATIENCE_MS, &receipt));
        CHECK(receipt.accepted == 1);
        IS(synod_release(loan.handle), SYNOD_STATUS_UNKNOWN_HANDLE);
        OK(synod_receive(large, PATIENCE_MS, &message));
        CHECK(message.len == MEBIBYTE);
        CHECK(message.is_in_place);
        for (uint32_t n = 0; n < MEBIBYTE; n++) CHECK(message.bytes[n] == (uint8_t)(n * 31 + (n >> 9) + turn));
        uint8_t end[3];
        OK(synod_copy(message.handle, MEBIBYTE - 3, end, 3));
        CHECK(memcmp(end, message.bytes + MEBIBYTE - 3, 3) == 0);
        IS(synod_copy(message.handle, MEBIBYTE - 2, end, 3), SYNOD_STATUS_INVALID);
        OK(synod_release(message.handle));
        IS(synod_copy(message.handle, 0, end, 3), SYNOD_STATUS_UNKNOWN_HANDLE);
        OK(synod_loan(ben, MEBIBYTE, &loan));
        OK(synod_release(loan.handle));
    }
    OK(synod_unsubscribe(large));
}

static void what_has_no_room_in_time_is_said_and_what_is_too_old_never_comes(synod_handle ben) {
    synod_handle eve = attached("eve", 1), small = subscribed(eve, "small"), silent = subscribed(eve, "silent");
    synod_receipt receipt;
    synod_message message;
    sent(ben, "small", SYNOD_PRIORITY_NORMAL, "1");
    IS(synod_send(ben, "small", SYNOD_PRIORITY_NORMAL, "2", 1, 5, &receipt), SYNOD_STATUS_TIMED_OUT);
    CHECK(receipt.accepted == 0 && receipt.refused == 1);
    IS(synod_send_expiring(ben, "small", SYNOD_PRIORITY_NORMAL, "3", 1, 5, &receipt), SYNOD_STATUS_WOULD_BLOCK);
    receives(small, "small", SYNOD_PRIORITY_NORMAL, "1");
    OK(synod_send_expiring(ben, "small", SYNOD_PRIORITY_NORMAL, "4", 1, 200, &receipt));
    IS(synod_receive(silent, 300, &message), SYNOD_STATUS_TIMED_OUT);
    IS(synod_receive(small, 0, &message), SYNOD_STATUS_TIMED_OUT);
    OK(synod_send_expiring(ben, "small", SYNOD_PRIORITY_NORMAL, "5", 1, PATIENCE_MS, &receipt));
    receives(small, "small", SYNOD_PRIORITY_NORMAL, "5");
    OK(synod_detach(eve));
    IS(synod_receive(small, 0, &message), SYNOD_STATUS_UNKNOWN_HANDLE);
}

static void told(const char *what) {
    char line[16];
    printf("%s\n", what);
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin) != NULL);
}

static void a_node_that_is_gone_is_an_error_until_it_is_back(synod_handle ada, synod_handle ben) {
    synod_handle news = subscribed(ada, "news"), other;
    synod_receipt receipt;
    synod_message message;
    bool is_attached = true;
    told("kill");
    while (is_attached) {
        IS(synod_receive(news, 1, &message), SYNOD_STATUS_TIMED_OUT);
        OK(synod_is_attached(ben, &is_attached));
    }
    IS(synod_send(ben, "news", SYNOD_PRIORITY_NORMAL, "x", 1, 5, &receipt), SYNOD_STATUS_LOST);
    IS(synod_request(ben, "news", SYNOD_PRIORITY_NORMAL, "x", 1, 5, &message), SYNOD_STATUS_LOST);
    IS(synod_wait_attached(ben, 5), SYNOD_STATUS_TIMED_OUT);
    IS(synod_attach("late", NULL, &other), SYNOD_STATUS_NO_NODE);
    CHECK(other == 0);
    told("start");
    OK(synod_wait_attached(ada, PATIENCE_MS));
    OK(synod_wait_attached(ben, PATIENCE_MS));
    // Each process tells the node again what it subscribes to, in its own time.
    synod_status came = SYNOD_STATUS_NOBODY_LISTENS;
    for (int n = 0; n < PATIENCE_MS && came == SYNOD_STATUS_NOBODY_LISTENS; n++) {
        came = synod_send(ben, "news", SYNOD_PRIORITY_NORMAL, "again", 5, PATIENCE_MS, &receipt);
        if (came != SYNOD_STATUS_OK) IS(synod_receive(news, 1, &message), SYNOD_STATUS_TIMED_OUT);
    }
    CHECK(came == SYNOD_STATUS_OK && receipt.accepted == 1);
    receives(news, "news", SYNOD_PRIORITY_NORMAL, "again");
}

int main(void) {
    OK(synod_init(SYNOD_ABI));
    synod_handle ada = attached("ada", 0), ben = attached("ben", 0);
    who_is_not_there_is_an_error_at_once(ben);
    the_most_urgent_of_six_priorities_is_received_first(ada, ben);
    a_question_is_answered_or_it_is_told_why_not(ada, ben);
    a_mebibyte_is_filled_in_place_and_arrives_whole(ada, ben);
    what_has_no_room_in_time_is_said_and_what_is_too_old_never_comes(ben);
    a_node_that_is_gone_is_an_error_until_it_is_back(ada, ben);
    OK(synod_detach(ada));
    OK(synod_detach(ben));
    IS(synod_detach(ben), SYNOD_STATUS_UNKNOWN_HANDLE);
    printf("well\n");
    return 0;
}
