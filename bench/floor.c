/* The floor: what fan-out costs when nothing is done but one send() per socket per event.
 *
 *   floor PORT
 *
 * Listens on 127.0.0.1:PORT. A GET becomes a reader (a plain, unframed event stream); the body of a POST becomes one
 * event and is sent to every reader before the POST is answered. Sockets of readers block for at most SEND_S seconds:
 * the floor loses nothing and keeps nothing. It trusts its clients, reads a request from one or more recv() calls, and
 * serves one event at a time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { MAX_SOCKETS = 20000, REQUEST_BYTES = 16384, SEND_S = 10, READY_MAX = 256, BACKLOG = 4096 };

static int readers[MAX_SOCKETS], reader_count;
static char *pending[MAX_SOCKETS]; /* by descriptor: the request so far */
static size_t pending_length[MAX_SOCKETS];

static const char STREAM[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hi\n\n";
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

static void forget(int fd) {
    for (int i = 0; i < reader_count; i++)
        if (readers[i] == fd) {
            readers[i] = readers[--reader_count];
            break;
        }
    free(pending[fd]);
    pending[fd] = NULL;
    pending_length[fd] = 0;
    close(fd);
}

static void publish(const char *body, size_t length) {
    static char event[REQUEST_BYTES + 16];
    size_t size = (size_t)snprintf(event, sizeof event, "data: %.*s\n\n", (int)length, body);
    for (int i = 0; i < reader_count; i++)
        if (send(readers[i], event, size, MSG_NOSIGNAL) != (ssize_t)size) forget(readers[i--]);
}

/* Handle the requests that are complete. Returns -1 when the connection is to be forgotten. */
static int on_request(int fd) {
    char *text = pending[fd];
    for (;;) {
        char *stop = memmem(text, pending_length[fd], "\r\n\r\n", 4);
        if (!stop) return 0;
        if (strncmp(text, "GET ", 4) == 0) {
            if (send(fd, STREAM, sizeof STREAM - 1, MSG_NOSIGNAL) < 0) return -1;
            readers[reader_count++] = fd;
            pending_length[fd] = 0;
            return 0;
        }
        char *field = strcasestr(text, "content-length:");
        if (!field || field > stop) return -1;
        size_t body = (size_t)atol(field + 15), whole = (size_t)(stop + 4 - text) + body;
        if (whole >= REQUEST_BYTES) return -1;
        if (pending_length[fd] < whole) return 0;
        publish(stop + 4, body);
        if (send(fd, ACCEPTED, sizeof ACCEPTED - 1, MSG_NOSIGNAL) < 0) return -1;
        pending_length[fd] -= whole;
        memmove(text, text + whole, pending_length[fd]);
        text[pending_length[fd]] = 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, epoll_fd = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, BACKLOG) < 0) {
        perror("floor");
        return 1;
    }
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = listener}, ready[READY_MAX];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &interest);
    for (;;) {
        int n = epoll_wait(epoll_fd, ready, READY_MAX, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd < 0) continue;
                if (fd >= MAX_SOCKETS) {
                    close(fd);
                    continue;
                }
                struct timeval bound = {.tv_sec = SEND_S};
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                pending[fd] = malloc(REQUEST_BYTES);
                pending_length[fd] = 0;
                interest = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &interest);
                continue;
            }
            if (!pending[fd]) continue; /* forgotten in this very round */
            size_t space = REQUEST_BYTES - 1 - pending_length[fd];
            ssize_t got = space ? recv(fd, pending[fd] + pending_length[fd], space, MSG_DONTWAIT) : 0;
            if (got < 0 && errno == EAGAIN) continue;
            if (got > 0) {
                pending_length[fd] += (size_t)got;
                pending[fd][pending_length[fd]] = 0;
                if (on_request(fd) == 0) continue;
            }
            forget(fd);
        }
    }
}
