// Reads a message that was released: what the address sanitizer has to see, or it sees nothing.

#include "check.h"

int main(void) {
    synod_handle client, news;
    synod_message message;
    OK(synod_init(SYNOD_ABI));
    OK(synod_attach("ada", NULL, &client));
    OK(synod_subscribe(client, "news", &news));
    OK(synod_send(client, "news", SYNOD_PRIORITY_NORMAL, "hello", 5, PATIENCE_MS, NULL));
    OK(synod_receive(news, PATIENCE_MS, &message));
    OK(synod_release(message.handle));
    return message.bytes[0] == 'h' ? 0 : 1;
}
