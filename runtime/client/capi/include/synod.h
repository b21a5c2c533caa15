// Synod from C: a process takes part in the node of its machine, over shared memory.
//
//   #include <stdio.h>
//   #include <synod.h>
//
//   int main(void) {
//       synod_handle client, news;
//       synod_message message;
//       if (synod_init(SYNOD_ABI) != SYNOD_STATUS_OK ||
//           synod_attach("reader", NULL, &client) != SYNOD_STATUS_OK ||
//           synod_subscribe(client, "news.>", &news) != SYNOD_STATUS_OK ||
//           synod_send(client, "news.eu", SYNOD_PRIORITY_HIGH, "hello", 5, 1000, NULL) != SYNOD_STATUS_OK ||
//           synod_receive(news, SYNOD_FOREVER, &message) != SYNOD_STATUS_OK) {
//           fprintf(stderr, "%s\n", synod_last_error_text());
//           return 1;
//       }
//       printf("%s: %.*s\n", message.source, (int)message.len, (const char *)message.bytes);
//       synod_release(message.handle);
//       return synod_detach(client) != SYNOD_STATUS_OK;
//   }
//
//   cc reader.c -lsynod -o reader          (beside a node: `synod up`)
//
// Every function answers with a synod_status; what went wrong and what to do about it is then synod_last_error_text(), kept for each
// thread. A function that fails writes zeros where it would have written results.
//
// A handle is a number that is never given twice: one that was closed or released, or never was, is answered with
// SYNOD_STATUS_UNKNOWN_HANDLE, whatever is done with it. Pointers are another matter: those in a synod_message or synod_loaned are good until
// the handle beside them is released or, for a loan, sent; a pointer that is given has to be NULL or good for what is said about it.
//
// Threads: every function may be called from any thread at any time, but for these: one thread at a time receives from a
// subscription, others wait their turn; nobody reads a message's bytes while another thread releases it. What waits goes on
// waiting when other threads call, and ends with SYNOD_STATUS_CLOSED when what it waits on is closed. A client has a thread of its own
// inside the library: after fork() the child has none, and may call nothing but exec. No function may be called in a signal handler.


#ifndef SYNOD_H
#define SYNOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What `synod_init` takes: which form of the functions and structures a program was compiled for.
#define SYNOD_ABI 1

// Waits without an end.
#define SYNOD_FOREVER UINT64_MAX

// The longest text that is taken, bytes without its NUL.
#define SYNOD_TEXT_MAX 4096

// What a call came to. Codes keep their numbers.
enum synod_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // All is well.
  SYNOD_STATUS_OK = 0,
  // A pointer that has to be given is NULL, or is not aligned for what it points to.
  SYNOD_STATUS_BAD_POINTER = 1,
  // A text is not UTF-8.
  SYNOD_STATUS_NOT_UTF8 = 2,
  // A text is longer than 4096 bytes.
  SYNOD_STATUS_TOO_LONG = 3,
  // A number, a name, a subject or a pattern is not what it may be.
  SYNOD_STATUS_INVALID = 4,
  // A handle was never given, was closed, or is of another kind.
  SYNOD_STATUS_UNKNOWN_HANDLE = 5,
  // synod_init was not called, or with another SYNOD_ABI than the library's.
  SYNOD_STATUS_NOT_INITIALISED = 6,
  // No node runs where one was looked for: start one with `synod up`.
  SYNOD_STATUS_NO_NODE = 7,
  // The node did not let the process in, or did not agree to a name or subscription.
  SYNOD_STATUS_NOT_ADMITTED = 8,
  // Another agent has that name.
  SYNOD_STATUS_NAME_TAKEN = 9,
  // The node is lost at the moment; the library goes on looking for it.
  SYNOD_STATUS_LOST = 10,
  // Nobody subscribes to that subject, or serves it.
  SYNOD_STATUS_NOBODY_LISTENS = 11,
  // No receiver has room: send again later.
  SYNOD_STATUS_WOULD_BLOCK = 12,
  // The time was over first.
  SYNOD_STATUS_TIMED_OUT = 13,
  // Whoever listens cannot be reached.
  SYNOD_STATUS_UNREACHABLE = 14,
  // A payload is longer than one message may be, 16 MiB.
  SYNOD_STATUS_TOO_LARGE = 15,
  // Whoever was asked would not do it.
  SYNOD_STATUS_REFUSED = 16,
  // Whoever was asked tried and failed.
  SYNOD_STATUS_FAILED = 17,
  // Whoever was asked ended without an answer: it may have been done.
  SYNOD_STATUS_ABANDONED = 18,
  // Whoever could be asked failed too often lately and is given a rest.
  SYNOD_STATUS_RESTING = 19,
  // The message is no request.
  SYNOD_STATUS_NOT_A_REQUEST = 20,
  // The request was answered already, or nobody waits for the answer any more.
  SYNOD_STATUS_CANCELLED = 21,
  // There is no memory.
  SYNOD_STATUS_NO_MEMORY = 22,
  // What was waited on was closed meanwhile.
  SYNOD_STATUS_CLOSED = 23,
  // Answers wait for room still, and are lost.
  SYNOD_STATUS_UNSENT = 24,
  // The operating system refused a thread.
  SYNOD_STATUS_SYSTEM = 25,
  // A fault of the library itself, whose text tells where; please report it.
  SYNOD_STATUS_BUG = 26,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum synod_status synod_status;
#else
typedef int32_t synod_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How urgent a message is, the most urgent first.
enum synod_priority
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The fleet's own safety: before everything else.
  SYNOD_PRIORITY_CRITICAL = 0,
  // Somebody waits for it now.
  SYNOD_PRIORITY_HIGH = 1,
  // The usual.
  SYNOD_PRIORITY_NORMAL = 2,
  // May wait for the usual.
  SYNOD_PRIORITY_LOW = 3,
  // Large amounts, in the order of minutes.
  SYNOD_PRIORITY_BATCH = 4,
  // When nothing else is to be done. To another process it waits in a file that outlives both, and comes at least once.
  SYNOD_PRIORITY_BACKGROUND = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum synod_priority synod_priority;
#else
typedef int32_t synod_priority;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a process attaches. All zero is the usual: what is NULL or 0 comes from the environment or is as said here.
typedef struct synod_options {
  // The node's socket; else the one that SYNOD_ATTACH names, or the node's in the user's runtime folder.
  const char *socket;
  // The node's name; else SYNOD_NODE's, or `synod`.
  const char *node;
  // What a node that wants tokens is shown; else SYNOD_TOKEN's.
  const char *token;
  // How long the node may take to let the process in; else 5 s.
  uint64_t within_ms;
  // Places of a subscription for each priority and sending context; else 256.
  size_t capacity;
  // Bytes of each ring to another context, a power of two from 1 KiB to 64 MiB; else 16 KiB.
  size_t lane_bytes;
} synod_options;

// The number of a client, a subscription, a message or a loan. 0 is none's.
typedef uint64_t synod_handle;

// Who took a message that was sent. It is no answer of theirs: the message has its place with them.
typedef struct synod_receipt {
  // How many receivers took it.
  size_t accepted;
  // How many did not: they had no room in time, or could not be reached.
  size_t refused;
} synod_receipt;

// Memory for a long payload, to be filled in place; good until its handle is sent or released.
typedef struct synod_loaned {
  // What it is sent or released by.
  synod_handle handle;
  // Where to write; what stands there at first is anything.
  uint8_t *bytes;
  // How many bytes that is.
  size_t len;
} synod_loaned;

// A message that was received; all of it is good until its handle is released.
typedef struct synod_message {
  // What it is released and answered by.
  synod_handle handle;
  // What it was sent to; of an answer, what was asked.
  const char *subject;
  // Who sent it.
  const char *source;
  // What it says. If `is_in_place` these bytes lie in the sender's memory: an honest one leaves them alone, one that means harm can change
  // them while they are read. Where that matters, synod_copy them and look at the copy alone.
  const uint8_t *bytes;
  // How many bytes that is.
  size_t len;
  // How urgent it is.
  int32_t priority;
  // Whether somebody waits for an answer.
  bool is_request;
  // Whether the bytes are read where the sender wrote them, as those of a long message from another process are: nothing was copied. They stay
  // readable until the message is released, and stay as they are until ten seconds after the client is detached.
  bool is_in_place;
} synod_message;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// To be called once before a process attaches, with SYNOD_ABI: is this library the one that the program was compiled for?
// Calling it again is harmless.
synod_status synod_init(uint32_t abi);

// The library's version, as in "0.1.0"; never NULL.
const char *synod_version(void);

// What the last call of this thread came to, but for this function and the next.
synod_status synod_last_error(void);

// The same in words, with what to do about it; empty if all was well, never NULL. Good until this thread's next call.
const char *synod_last_error_text(void);

// Attaches this process to the node of its machine, by a name that is unique there: the process's and its agent's. `options` may be
// NULL. A node that is lost is found again by itself when it is back.
//
// # Safety
// `name` and what `options` names are NUL-terminated; `client` can be written.
synod_status synod_attach(const char *name,
                          const struct synod_options *options,
                          synod_handle *client);

// Leaves the node when all that was accepted is on its way, and closes the client and its subscriptions; messages and loans stay until
// they are released. Whoever still waits for an answer of this client is told that there will be none.
synod_status synod_detach(synod_handle client);

// Whether the process is attached at this moment. If it is not, the library goes on looking for the node.
//
// # Safety
// `attached` can be written.
synod_status synod_is_attached(synod_handle client,
                               bool *attached);

// Waits so long until the process is attached (again); SYNOD_STATUS_TIMED_OUT if it is not by then. After a node's restart each process comes
// back in its own time with what it subscribes to: what is sent before that finds nobody.
synod_status synod_wait_attached(synod_handle client,
                                 uint64_t within_ms);

// Sends to everybody who subscribes to `subject`, and waits so long until each has room. Nobody there at all is
// SYNOD_STATUS_NOBODY_LISTENS. `receipt` may be NULL; it is written also when not everybody had room in time.
//
// # Safety
// `subject` is NUL-terminated; `len` bytes can be read at `bytes`, which may be NULL if that is 0; `receipt` is NULL or can be written.
synod_status synod_send(synod_handle client,
                        const char *subject,
                        int32_t priority,
                        const void *bytes,
                        size_t len,
                        uint64_t within_ms,
                        struct synod_receipt *receipt);

// Sends what is of use for so long alone: who has not received it by then never does. As long as nobody has room it is tried again; once
// somebody took it, whoever had no room is counted as refused and not waited for.
//
// # Safety
// As for synod_send.
synod_status synod_send_expiring(synod_handle client,
                                 const char *subject,
                                 int32_t priority,
                                 const void *bytes,
                                 size_t len,
                                 uint64_t lifetime_ms,
                                 struct synod_receipt *receipt);

// Borrows memory for a payload of `len` bytes that other processes will read in place: fill it, then synod_send_loan it, or
// synod_release it.
//
// # Safety
// `loan` can be written.
synod_status synod_loan(synod_handle client,
                        size_t len,
                        struct synod_loaned *loan);

// Sends a loan as synod_send sends bytes; nothing is copied on its way to other processes. Once it is sent its handle is closed. If
// this fails, the loan may be sent again or released, but nothing may be written to it any more.
//
// # Safety
// `subject` is NUL-terminated; `receipt` is NULL or can be written; nobody writes to the loan's bytes from now on.
synod_status synod_send_loan(synod_handle client,
                             synod_handle loan,
                             const char *subject,
                             int32_t priority,
                             uint64_t within_ms,
                             struct synod_receipt *receipt);

// Receives what is sent to subjects that match `pattern`: `*` stands for one token, `>` for all that follow.
//
// # Safety
// `pattern` is NUL-terminated; `subscription` can be written.
synod_status synod_subscribe(synod_handle client,
                             const char *pattern,
                             synod_handle *subscription);

// Receives requests on subjects that match, as one instance among all who serve them: each request goes to one. Answer by
// synod_reply or synod_fail.
//
// # Safety
// As for synod_subscribe.
synod_status synod_serve(synod_handle client,
                         const char *pattern,
                         synod_handle *subscription);

// Ends a subscription, also for a thread that waits for a message of it.
synod_status synod_unsubscribe(synod_handle subscription);

// Waits so long for the next message, the most urgent first: SYNOD_STATUS_TIMED_OUT if none came. 0 takes one that is there, SYNOD_FOREVER
// waits without an end. Each message has to be released.
//
// # Safety
// `message` can be written.
synod_status synod_receive(synod_handle subscription,
                           uint64_t within_ms,
                           struct synod_message *message);

// Asks one of those who serve `subject`, and waits so long for what it answers, which has to be released. SYNOD_STATUS_NOBODY_LISTENS is said at
// once.
//
// # Safety
// As for synod_send; `answer` can be written.
synod_status synod_request(synod_handle client,
                           const char *subject,
                           int32_t priority,
                           const void *bytes,
                           size_t len,
                           uint64_t within_ms,
                           struct synod_message *answer);

// Copies `len` bytes of a message from byte `from` on, each read once: what a sender does to its memory after that does not matter.
//
// # Safety
// `len` bytes can be written at `into`, which may be NULL if that is 0.
synod_status synod_copy(synod_handle message,
                        size_t from,
                        void *into,
                        size_t len);

// Answers a request, once. The message stays readable until it is released.
//
// # Safety
// `len` bytes can be read at `bytes`, which may be NULL if that is 0.
synod_status synod_reply(synod_handle request, const void *bytes, size_t len);

// Answers a request, once: it was tried and failed.
//
// # Safety
// `reason` is NUL-terminated.
synod_status synod_fail(synod_handle request, const char *reason);

// Gives back a message or a loan. A request that has no answer yet is told so.
synod_status synod_release(synod_handle handle);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SYNOD_H */
