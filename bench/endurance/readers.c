/* Readers that behave as browsers do: N event streams in one thread, which come back after their own `retry:` with
 * their last id, and check that no event is missing or doubled, whatever happens to their connections.
 *
 *   readers HOST PORT PATH
 *
 * The stream must be unfiltered: its ids count up by one. Commands on stdin, one answer each on stdout:
 *
 *   position ID                     readers opened from now on start after ID (Last-Event-ID)
 *   reconnect 0|1                   whether a reader whose stream ended comes back (as at first: 1)
 *   clear                           forget what was counted
 *   connect N INFLIGHT TIMEOUT_MS   open N more streams, at most INFLIGHT not yet answered
 *   caught_up SEQ TIMEOUT_MS        until every reader is open and has read up to SEQ
 *   gone TIMEOUT_MS                 until no reader is open
 *   run MS                          read for so long
 *   quit                            or the end of stdin
 *
 * Every answer is the same JSON object of counts; times are in seconds since the last `clear`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_READERS = 20000, RECV_BYTES = 65536, READY_MAX = 512, LINE_BYTES = 1048576, BUCKETS = 20, SCAN_MS = 2, LAST_MS = 50 };

typedef enum { IDLE, WAITING, CONNECTING, HEAD, OPEN } State;
typedef enum { SIZE, PAYLOAD, PAYLOAD_END, LAST } Framing;

typedef struct {
    int fd;
    State state;
    bool chunked, bye;
    Framing framing;
    uint64_t chunk_left;
    int after_last; /* bytes after the last chunk's "0\r\n" */
    char *line;     /* the head, or a line cut by the end of a buffer */
    size_t length, size;
    char event[8], id[32], last[32]; /* `last`: what it sends as Last-Event-ID */
    int64_t seq;                     /* of `last`; -1: none yet */
    int retry_ms;
    int64_t wake, ended, arrived; /* ns */
    int64_t first_retry;
} Reader;

static Reader readers[MAX_READERS];
static int reader_count, epoll_fd, pending;
static bool reconnecting = true;
static char start_position[32], path[1024], host[256];
static struct sockaddr_in address;
static int64_t zero;
static struct {
    int64_t items, holes, doubles, tick_wrong, resets, byes, proper, broken, cut, refused, excess_bytes, not_ours, opened;
} count;
static double arrivals[MAX_READERS * 4], ends[MAX_READERS * 4], retries[MAX_READERS * 4], gaps[MAX_READERS * 4];
static int arrival_count, end_count, retry_count, gap_count;

static int64_t monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "readers: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

static void note(double *values, int *n, double value) {
    if (*n < MAX_READERS * 4) values[(*n)++] = value;
}

/* ---- events ---- */

static void on_event(Reader *r) {
    int64_t seq = r->id[0] ? strtoll(r->id, NULL, 10) : -1;
    if (!strcmp(r->event, "item")) {
        count.items++;
        if (r->seq >= 0 && seq > r->seq + 1) count.holes++;
        if (r->seq >= 0 && seq <= r->seq) count.doubles++;
    } else if (!strcmp(r->event, "tick")) {
        if (seq >= 0 && r->seq >= 0 && seq != r->seq) count.tick_wrong++;
    } else if (!strcmp(r->event, "reset")) {
        count.resets++;
    } else if (!strcmp(r->event, "bye")) {
        count.byes++;
        r->bye = true;
        note(retries, &retry_count, r->retry_ms / 1e3);
    }
    if (seq >= 0) {
        r->seq = seq;
        memcpy(r->last, r->id, sizeof r->last);
    }
    r->event[0] = r->id[0] = 0;
}

static void on_line(Reader *r, char *line) {
    if (!line[0]) {
        if (r->event[0]) on_event(r);
    } else if (!strncmp(line, "event: ", 7)) {
        snprintf(r->event, sizeof r->event, "%s", line + 7);
    } else if (!strncmp(line, "id: ", 4)) {
        snprintf(r->id, sizeof r->id, "%s", line + 4);
    } else if (!strncmp(line, "retry: ", 7)) {
        r->retry_ms = atoi(line + 7);
    } else if (strncmp(line, "data: ", 6)) {
        count.not_ours++; /* bytes that belong to no event stream of ours */
    }
}

static void keep(Reader *r, const char *bytes, size_t n) {
    if (r->length + n + 1 > LINE_BYTES) die("a line of more than %d bytes", LINE_BYTES);
    if (r->length + n + 1 > r->size) {
        r->size = r->length + n + 512;
        if (!(r->line = realloc(r->line, r->size))) die("no memory");
    }
    memcpy(r->line + r->length, bytes, n);
    r->length += n;
    r->line[r->length] = 0;
}

static void forget(Reader *r) {
    free(r->line);
    r->line = NULL;
    r->length = r->size = 0;
}

static void on_payload(Reader *r, const char *at, size_t n) {
    const char *end = at + n, *stop;
    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
        keep(r, at, (size_t)(stop - at));
        on_line(r, r->line);
        r->length = 0;
    }
    if (at < end) keep(r, at, (size_t)(end - at));
    else if (!r->length) forget(r);
}

static void on_body(Reader *r, const char *at, size_t n) {
    const char *end = at + n;
    if (!r->chunked) {
        on_payload(r, at, n);
        return;
    }
    while (at < end) {
        char c = *at;
        switch (r->framing) {
        case SIZE:
            at++;
            if (isxdigit((unsigned char)c))
                r->chunk_left = r->chunk_left * 16 + (uint64_t)(isdigit((unsigned char)c) ? c - '0' : tolower(c) - 'a' + 10);
            else if (c == '\n') r->framing = r->chunk_left ? PAYLOAD : LAST;
            else if (c != '\r') {
                count.not_ours++;
                return;
            }
            break;
        case PAYLOAD: {
            size_t have = (size_t)(end - at), take = have < r->chunk_left ? have : (size_t)r->chunk_left;
            on_payload(r, at, take);
            at += take;
            if (!(r->chunk_left -= take)) r->framing = PAYLOAD_END;
            break;
        }
        case PAYLOAD_END:
            at++;
            if (c == '\n') r->framing = SIZE;
            else if (c != '\r') {
                count.not_ours++;
                return;
            }
            break;
        case LAST:
            r->after_last += (int)(end - at);
            r->wake = monotonic() + (int64_t)LAST_MS * 1000000; /* a proxy keeps the connection */
            return;
        }
    }
}

/* ---- connections ---- */

static void lose(Reader *r, bool error) {
    if (r->state == OPEN) {
        if (r->after_last > 2) count.excess_bytes++;
        if (r->bye && (!r->chunked || r->framing == LAST) && !error) count.proper++;
        else if (error) count.broken++;
        else count.cut++;
        r->ended = monotonic();
        r->first_retry = r->retry_ms;
        note(ends, &end_count, (double)(r->ended - zero) / 1e9);
    } else {
        count.refused++;
        pending--;
    }
    close(r->fd);
    forget(r);
    r->event[0] = r->id[0] = 0;
    r->state = reconnecting ? WAITING : IDLE;
    r->wake = monotonic() + (int64_t)r->retry_ms * 1000000;
}

static void dial(Reader *r) {
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) die("socket: %s", strerror(errno));
    r->state = CONNECTING;
    r->bye = r->chunked = false;
    r->framing = SIZE;
    r->chunk_left = 0;
    r->after_last = 0;
    r->arrived = monotonic();
    pending++;
    if (connect(r->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        lose(r, true);
        return;
    }
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = r};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, r->fd, &interest) < 0) die("epoll_ctl: %s", strerror(errno));
}

static void on_head(Reader *r, const char *bytes, size_t n) {
    keep(r, bytes, n);
    char *stop = strstr(r->line, "\r\n\r\n");
    if (!stop) return;
    *stop = 0;
    if (strncmp(r->line, "HTTP/1.1 200", 12) || !strcasestr(r->line, "content-type: text/event-stream")) {
        lose(r, true);
        return;
    }
    r->chunked = strcasestr(r->line, "transfer-encoding: chunked") != NULL;
    pending--;
    r->state = OPEN;
    count.opened++;
    note(arrivals, &arrival_count, (double)(r->arrived - zero) / 1e9);
    if (r->ended) note(gaps, &gap_count, (double)(monotonic() - r->ended) / 1e9 - (double)r->first_retry / 1e3);
    char *head = r->line;
    size_t after = r->length - (size_t)(stop + 4 - head);
    r->line = NULL;
    r->length = r->size = 0;
    on_body(r, stop + 4, after);
    free(head);
}

static void on_ready(Reader *r, uint32_t events) {
    static char buffer[RECV_BYTES];
    if (r->state == CONNECTING) {
        char request[2048];
        const char *last = r->last[0] ? r->last : start_position;
        int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
                         path, host, last[0] ? "Last-Event-ID: " : "", last, last[0] ? "\r\n" : "");
        if ((events & EPOLLERR) || send(r->fd, request, (size_t)n, MSG_NOSIGNAL) != n) {
            lose(r, true);
            return;
        }
        if (!r->last[0] && start_position[0]) {
            memcpy(r->last, start_position, sizeof r->last);
            r->seq = strtoll(start_position, NULL, 10);
        }
        r->state = HEAD;
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = r};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, r->fd, &interest);
    } else if (r->state == HEAD || r->state == OPEN) {
        ssize_t n = recv(r->fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) lose(r, n < 0);
        else if (r->state == HEAD) on_head(r, buffer, (size_t)n);
        else on_body(r, buffer, (size_t)n);
    }
}

static void serve(void) {
    static int64_t scanned;
    struct epoll_event ready[READY_MAX];
    int n = epoll_wait(epoll_fd, ready, READY_MAX, SCAN_MS);
    for (int i = 0; i < n; i++) on_ready(ready[i].data.ptr, ready[i].events);
    int64_t now = monotonic();
    if (now - scanned < (int64_t)SCAN_MS * 1000000) return;
    scanned = now;
    for (int i = 0; i < reader_count; i++) {
        Reader *r = &readers[i];
        if (r->state == WAITING && r->wake <= now) dial(r);
        else if (r->state == OPEN && r->after_last >= 2 && r->wake <= now) lose(r, false);
    }
}

/* ---- commands ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, double *values, int n) {
    int bucket[BUCKETS] = {0};
    qsort(values, (size_t)n, sizeof *values, by_value);
    double low = n ? values[0] : 0, high = n ? values[n - 1] : 0, span = high > low ? high - low : 1;
    for (int i = 0; i < n; i++) {
        int at = (int)((values[i] - low) / span * BUCKETS);
        bucket[at < BUCKETS ? at : BUCKETS - 1]++;
    }
    printf(", \"%s\": {\"n\": %d, \"min\": %.4f, \"p50\": %.4f, \"p99\": %.4f, \"max\": %.4f, \"buckets\": [", name, n, low,
           n ? values[n / 2] : 0, n ? values[(int)((double)n * .99)] : 0, high);
    for (int i = 0; i < BUCKETS; i++) printf("%s%d", i ? ", " : "", bucket[i]);
    printf("]}");
}

static bool caught_up(int64_t seq) {
    for (int i = 0; i < reader_count; i++)
        if (readers[i].state != OPEN || readers[i].seq < seq) return false;
    return true;
}

static bool all_gone(void) {
    for (int i = 0; i < reader_count; i++)
        if (readers[i].state != IDLE && readers[i].state != WAITING) return false;
    return true;
}

static void report(double seconds, bool reached) {
    int in[OPEN + 1] = {0};
    for (int i = 0; i < reader_count; i++) in[readers[i].state]++;
    printf("{\"reached\": %s, \"seconds\": %.4f, \"readers\": %d, \"open\": %d, \"waiting\": %d, \"unanswered\": %d, \"opened\": %lld, \"items\": %lld, "
           "\"holes\": %lld, \"doubles\": %lld, \"tick_wrong\": %lld, \"not_ours\": %lld, \"resets\": %lld, "
           "\"byes\": %lld, \"proper\": %lld, \"broken\": %lld, \"cut\": %lld, \"refused\": %lld, \"excess\": %lld",
           reached ? "true" : "false", seconds, reader_count, in[OPEN], in[WAITING], in[CONNECTING] + in[HEAD], (long long)count.opened, (long long)count.items,
           (long long)count.holes, (long long)count.doubles, (long long)count.tick_wrong, (long long)count.not_ours,
           (long long)count.resets, (long long)count.byes, (long long)count.proper, (long long)count.broken,
           (long long)count.cut, (long long)count.refused, (long long)count.excess_bytes);
    print_spread("arrivals_s", arrivals, arrival_count);
    print_spread("ends_s", ends, end_count);
    print_spread("retries_s", retries, retry_count);
    print_spread("gaps_less_retry_s", gaps, gap_count);
    printf("}\n");
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: readers HOST PORT PATH");
    setvbuf(stdout, NULL, _IOLBF, 0);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die("bad address %s", argv[1]);
    snprintf(host, sizeof host, "%s:%s", argv[1], argv[2]);
    snprintf(path, sizeof path, "%s", argv[3]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    zero = monotonic();
    char line[256], word[32];
    /* Commands come one at a time, each after the answer to the one before; streams wait meanwhile, briefly. */
    while (fgets(line, sizeof line, stdin)) {
        long long a = 0, b = 0, c = 0;
        int64_t start = monotonic();
        bool reached = true;
        if (sscanf(line, "position %31s", start_position) == 1) {
        } else if (sscanf(line, "reconnect %lld", &a) == 1) {
            reconnecting = a;
            for (int i = 0; i < reader_count && !a; i++)
                if (readers[i].state == WAITING) readers[i].state = IDLE;
        } else if (!strncmp(line, "clear", 5)) {
            memset(&count, 0, sizeof count);
            arrival_count = end_count = retry_count = gap_count = 0;
            zero = monotonic();
        } else if (sscanf(line, "connect %lld %lld %lld", &a, &b, &c) == 3) {
            int64_t target = reader_count + a, opened = count.opened;
            if (target > MAX_READERS) die("at most %d readers", MAX_READERS);
            while (count.opened < opened + a && monotonic() < start + c * 1000000) {
                while (reader_count < target && pending < b) {
                    Reader *r = &readers[reader_count++];
                    r->seq = -1;
                    r->retry_ms = 1000;
                    dial(r);
                }
                serve();
            }
            reached = count.opened >= opened + a;
        } else if (sscanf(line, "caught_up %lld %lld", &a, &b) == 2) {
            while (!(reached = caught_up(a)) && monotonic() < start + b * 1000000) serve();
        } else if (sscanf(line, "gone %lld", &a) == 1) {
            while (!(reached = all_gone()) && monotonic() < start + a * 1000000) serve();
        } else if (sscanf(line, "run %lld", &a) == 1) {
            while (monotonic() < start + a * 1000000) serve();
        } else if (sscanf(line, "%31s", word) == 1 && !strcmp(word, "quit")) {
            break;
        } else {
            die("unknown command: %s", line);
        }
        report((double)(monotonic() - start) / 1e9, reached);
    }
    return 0;
}
