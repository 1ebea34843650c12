/* loopback.c - a library of its own, for LD_PRELOAD: a socket that would listen on all network
 * interfaces listens on the loopback interface.
 *
 * XSched's server binds its port to 0.0.0.0 and asks for no password; it has no option for another
 * address. With this library only processes of the machine reach it. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef int bind_function(int, const struct sockaddr *, socklen_t);

/* The address as IPv6 has it, so that a client of 127.0.0.1 reaches the port, too. */
static const struct in6_addr mapped_loopback = {
    .s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1},
};

/* Not under its own name, which the headers declare with other types. */
int on_loopback(int fd, const struct sockaddr *address, socklen_t size) __asm__("bind")
    __attribute__((visibility("default")));

int on_loopback(int fd, const struct sockaddr *address, socklen_t size)
{
    bind_function *next;
    void *symbol = dlsym(RTLD_NEXT, "bind");
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&next, &symbol, sizeof next);
    if (address != NULL && size >= sizeof v4 && address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof v4);
        if (v4.sin_addr.s_addr == htonl(INADDR_ANY))
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return next(fd, (const struct sockaddr *)&v4, sizeof v4);
    }
    if (address != NULL && size >= sizeof v6 && address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof v6);
        if (memcmp(&v6.sin6_addr, &in6addr_any, sizeof in6addr_any) == 0)
            v6.sin6_addr = mapped_loopback;
        return next(fd, (const struct sockaddr *)&v6, sizeof v6);
    }
    return next(fd, address, size);
}
