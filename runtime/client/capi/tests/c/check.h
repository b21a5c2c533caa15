// What the C tests check with: what is not so ends the program, and says where and what the library says of it.

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <synod.h>

// Longer than anything takes here.
#define PATIENCE_MS 20000

#define CHECK(condition)                                                                             \
    do {                                                                                             \
        if (!(condition)) {                                                                          \
            fprintf(stderr, "%s:%d: not so: %s (the last call: %d, %s)\n", __FILE__, __LINE__,       \
                    #condition, (int)synod_last_error(), synod_last_error_text());                   \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

// That a call comes to this, and that the last error tells the same.
#define IS(call, status)                                                                             \
    do {                                                                                             \
        CHECK((call) == (status));                                                                   \
        CHECK(synod_last_error() == (status));                                                       \
        CHECK((synod_last_error_text()[0] == 0) == ((status) == SYNOD_STATUS_OK));                   \
    } while (0)

#define OK(call) IS(call, SYNOD_STATUS_OK)

#endif
