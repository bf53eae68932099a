/* The load client: N event-stream readers in one thread, each of whose sequences is checked.
 *
 *   client HOST PORT PATH CPU FLAGS
 *
 * HOST is an IPv4 address, PATH the stream's path and query, CPU the core to be pinned to (-1: none), FLAGS a set of
 * letters: `o` the numbers must come in ascending order (otherwise: in one order, the same for every reader), `i` the
 * `id:` fields must count up by one, `s` small receive buffers, `-` none. A `*` in PATH is replaced by a number that is
 * the reader's own modulo GROUPS.
 *
 * Every event carries `~#NUMBER:NANOSECONDS~` in its data: its number, and the CLOCK_MONOTONIC time at which it was
 * offered to the server. Events without it (ticks, pings, comments) are read and not counted.
 *
 * It obeys one command per line of stdin and answers on stdout, one line each:
 *
 *   connect N INFLIGHT TIMEOUT_MS GROUPS
 *                                     open N more streams, at most INFLIGHT of them not yet answered
 *       -> {"op": "connect", ...}     when each has its response's head
 *   replay N INFLIGHT TIMEOUT_MS FIRST COUNT PATH
 *                                     the same for PATH, where a stream counts as answered when it has been given the
 *                                     past numbers FIRST .. FIRST+COUNT-1, in ascending order
 *       -> {"op": "expect", ...}
 *   expect FIRST COUNT TIMEOUT_MS     every reader shall now get the numbers FIRST .. FIRST+COUNT-1
 *       -> ready                      from now on they may be published
 *       -> done NUMBER                when the last reader has this number
 *       -> {"op": "expect", ...}      when every reader has every number, or at the time-out
 *   idle MS                           read for so long
 *       -> {"op": "idle", ...}
 *   quit                              or the end of stdin
 *
 * After the last number an `expect` stays open for LINGER_MS, so that a number delivered twice is seen.
 * Theory of operation: level-triggered epoll, one recv() of up to 256 KiB per ready socket; the bytes run through
 * head -> chunked framing (or plain) -> lines -> fields -> event. Only what is cut by a buffer's end is ever copied.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
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

enum {
    MAX_READERS = 20000,       /* this machine's class allows as many descriptors */
    MAX_EVENTS = 65536,        /* of one `expect` */
    RECV_BYTES = 262144,       /* joined writes of a burst are taken in one call */
    LINE_MAX_BYTES = 1048576,  /* a longer line ends the client: it is no event of ours */
    READY_MAX = 512,           /* sockets served per epoll_wait */
    LINGER_MS = 50,
    COMMAND_BYTES = 1024,
    SMALL_RECEIVE_BYTES = 4096,
    RETRIES_MAX = 100,         /* connections that ended before their answer and were opened again, in all */
};

typedef enum { CONNECTING, HEAD, OPEN, GONE } State;
typedef enum { SIZE, EXTENSION, PAYLOAD, PAYLOAD_END, LAST } Framing;

typedef struct {
    int fd;
    State state;
    bool chunked;
    Framing framing;
    uint64_t chunk_left;
    char *rest; /* of a head or line cut by the end of a buffer */
    size_t rest_length, rest_size;
    bool has_number; /* the event being read carries a number */
    int64_t number, offered, data_length;
    int64_t id, last_id; /* -1: none */
    int64_t next;        /* rank of the number expected next */
    int64_t got;
} Reader;

static struct {
    int64_t deliveries, doubled, out_of_order, stray, unequal, id_breaks, bytes, refused;
} count;

static Reader readers[MAX_READERS];
static int reader_count, open_count, connecting_count, gone_count, retries;
static int epoll_fd;
static struct sockaddr_in address;
static const char *host, *port;
static char path[COMMAND_BYTES];
static int groups = 1;
static bool ascending, check_ids, small_buffers;
static int64_t replayed;    /* numbers that a new stream must be given before it counts as answered; 0: none */

static bool expecting;
static int64_t expect_first, expect_count;
static uint8_t *seen;       /* reader x number */
static int32_t *rank;       /* number -> place in the order agreed on, -1: not yet placed */
static int32_t placed;      /* numbers in the order agreed on */
static int32_t *complete;   /* number -> readers that have it */
static int64_t *length_of;  /* number -> bytes of its data, as the first reader got it */
static int64_t *last_reader, *latency; /* ns */
static int64_t first_offered, last_delivered;
static int64_t now_ns;      /* when the bytes at hand were received */

static int64_t monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "client: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

static void *allocate(size_t items, size_t size) {
    void *memory = calloc(items ? items : 1, size);
    if (!memory) die("no memory");
    return memory;
}

/* ---- what is checked of each event ---- */

static void check_event(Reader *r) {
    if (check_ids) {
        if (r->id < 0 || (r->last_id >= 0 && r->id != r->last_id + 1)) count.id_breaks++;
        r->last_id = r->id;
    }
    int64_t i = r->number - expect_first;
    if (!expecting || i < 0 || i >= expect_count) {
        count.stray++;
        return;
    }
    uint8_t *mine = seen + (size_t)(r - readers) * (size_t)expect_count;
    if (mine[i]) {
        count.doubled++;
        return;
    }
    mine[i] = 1;
    if (rank[i] < 0 && r->next == placed) rank[i] = placed++;
    if (rank[i] < 0 || rank[i] < r->next) count.out_of_order++; /* a rank ahead is a hole: late or missing, seen then */
    else r->next = rank[i] + 1;
    if (length_of[i] == 0) length_of[i] = r->data_length;
    else if (length_of[i] != r->data_length) count.unequal++;

    int64_t took = now_ns - r->offered;
    latency[count.deliveries++] = took;
    if (took > last_reader[i]) last_reader[i] = took;
    if (r->offered < first_offered) first_offered = r->offered;
    if (now_ns > last_delivered) last_delivered = now_ns;
    if (++r->got == replayed) connecting_count--;
    if (++complete[i] == reader_count && !replayed) printf("done %lld\n", (long long)r->number);
}

/* Digits from `*at` on, and moves it behind them; the line's end stops it. */
static int64_t digits(const char **at) {
    int64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) value = value * 10 + (**at - '0');
    return value;
}

static void read_number(Reader *r, const char *data, size_t length) {
    static size_t usual; /* where the last one was: the next one is there, too, nearly always */
    const char *end = data + length, *at = data;
    if (usual + 2 < length && data[usual] == '~' && data[usual + 1] == '#') at += usual;
    while ((at = memchr(at, '~', (size_t)(end - at)))) {
        if (end - at > 4 && at[1] == '#') {
            const char *stop = at + 2;
            r->number = digits(&stop);
            if (*stop++ != ':') return;
            r->offered = digits(&stop);
            if (*stop != '~') return;
            r->has_number = true;
            r->data_length = (int64_t)length;
            usual = (size_t)(at - data);
            return;
        }
        at++;
    }
}

/* One line without its end; `line[length]` may be read and is no digit. */
static void on_line(Reader *r, const char *line, size_t length) {
    if (length && line[length - 1] == '\r') length--;
    if (length == 0) {
        if (r->has_number) check_event(r);
        r->has_number = false;
        r->id = -1;
    } else if (length > 5 && memcmp(line, "data:", 5) == 0) {
        if (!r->has_number) read_number(r, line + 5, length - 5);
    } else if (length > 3 && memcmp(line, "id:", 3) == 0) {
        const char *at = line + 3 + (line[3] == ' ');
        r->id = digits(&at);
    }
}

/* ---- from bytes to lines ---- */

static void keep(Reader *r, const char *bytes, size_t length) {
    size_t need = r->rest_length + length;
    if (need > LINE_MAX_BYTES) die("a line or head of more than %d bytes", LINE_MAX_BYTES);
    if (need > r->rest_size) {
        r->rest_size = need < 1024 ? 1024 : need * 2;
        r->rest = realloc(r->rest, r->rest_size);
        if (!r->rest) die("no memory");
    }
    memcpy(r->rest + r->rest_length, bytes, length);
    r->rest_length = need;
}

static void on_payload(Reader *r, const char *at, size_t length) {
    const char *end = at + length;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) {
            keep(r, at, (size_t)(end - at));
            return;
        }
        if (r->rest_length) {
            keep(r, at, (size_t)(stop + 1 - at));
            size_t whole = r->rest_length - 1;
            r->rest_length = 0;
            on_line(r, r->rest, whole);
        } else {
            on_line(r, at, (size_t)(stop - at));
        }
        at = stop + 1;
    }
}

static void start(Reader *r);

static void leave(Reader *r) {
    if (r->state == GONE) return;
    if ((r->state == CONNECTING || r->state == HEAD) && retries < RETRIES_MAX) { /* as a browser would */
        retries++;
        close(r->fd);
        connecting_count--;
        free(r->rest);
        r->rest = NULL;
        r->rest_length = r->rest_size = 0;
        start(r);
        return;
    }
    if (r->state == OPEN) open_count--;
    if (r->state != OPEN || r->got < replayed) connecting_count--;
    close(r->fd);
    r->state = GONE;
    gone_count++;
    free(r->rest);
    r->rest = NULL;
    r->rest_length = r->rest_size = 0;
}

static void on_body(Reader *r, const char *at, size_t length) {
    const char *end = at + length;
    if (!r->chunked) {
        on_payload(r, at, length);
        return;
    }
    while (at < end) {
        switch (r->framing) {
        case SIZE: {
            char c = *at++;
            if (isdigit((unsigned char)c)) r->chunk_left = r->chunk_left * 16 + (uint64_t)(c - '0');
            else if (isxdigit((unsigned char)c)) r->chunk_left = r->chunk_left * 16 + (uint64_t)(tolower(c) - 'a' + 10);
            else if (c == ';') r->framing = EXTENSION;
            else if (c == '\n') r->framing = r->chunk_left ? PAYLOAD : LAST;
            else if (c != '\r') die("a chunk's size has the byte 0x%02x", (unsigned char)c);
            break;
        }
        case EXTENSION:
            if (*at++ == '\n') r->framing = r->chunk_left ? PAYLOAD : LAST;
            break;
        case PAYLOAD: {
            size_t have = (size_t)(end - at), take = have < r->chunk_left ? have : (size_t)r->chunk_left;
            on_payload(r, at, take);
            at += take;
            r->chunk_left -= take;
            if (r->chunk_left == 0) r->framing = PAYLOAD_END;
            break;
        }
        case PAYLOAD_END: {
            char c = *at++;
            if (c == '\n') r->framing = SIZE;
            else if (c != '\r') die("a chunk is longer than its size says");
            break;
        }
        case LAST: /* the stream was ended by the server */
            leave(r);
            return;
        }
    }
}

static void on_head(Reader *r, const char *bytes, size_t length) {
    keep(r, bytes, length);
    char *stop = memmem(r->rest, r->rest_length, "\r\n\r\n", 4);
    if (!stop) return;
    *stop = 0;
    if (strncmp(r->rest, "HTTP/1.1 200", 12) != 0 || !strcasestr(r->rest, "content-type: text/event-stream")) {
        if (count.refused++ == 0) fprintf(stderr, "client: refused: %.200s\n", r->rest);
        leave(r);
        return;
    }
    r->chunked = strcasestr(r->rest, "transfer-encoding: chunked") != NULL;
    if (!replayed) connecting_count--;
    open_count++;
    r->state = OPEN;
    char *head = r->rest;
    size_t after = r->rest_length - (size_t)(stop + 4 - head);
    r->rest = NULL;
    r->rest_length = r->rest_size = 0;
    on_body(r, stop + 4, after);
    free(head);
}

/* ---- sockets ---- */

static void start(Reader *r) {
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) die("socket: %s", strerror(errno));
    int small = SMALL_RECEIVE_BYTES;
    if (small_buffers) setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(r->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    r->state = CONNECTING;
    connecting_count++;
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = r};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, r->fd, &interest) < 0) die("epoll_ctl: %s", strerror(errno));
}

static size_t make_request(char *request, size_t size, const Reader *r) {
    const char *star = strchr(path, '*');
    int length = star ? snprintf(request, size, "GET %.*s%d%s", (int)(star - path), path, (int)(r - readers) % groups, star + 1)
                      : snprintf(request, size, "GET %s", path);
    length += snprintf(request + length, size - (size_t)length,
                       " HTTP/1.1\r\nHost: %s:%s\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n", host, port);
    return (size_t)length;
}

static void on_ready(Reader *r, uint32_t events) {
    static char buffer[RECV_BYTES + 1], request[COMMAND_BYTES * 2];
    if (r->state == GONE) return;
    if (r->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        size_t length = make_request(request, sizeof request, r);
        if (error || (events & EPOLLERR) || send(r->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) {
            leave(r);
            return;
        }
        r->state = HEAD;
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = r};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, r->fd, &interest);
        return;
    }
    ssize_t length = recv(r->fd, buffer, RECV_BYTES, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length <= 0) {
        leave(r);
        return;
    }
    now_ns = monotonic();
    count.bytes += length;
    buffer[length] = 0;
    if (r->state == HEAD) on_head(r, buffer, (size_t)length);
    else on_body(r, buffer, (size_t)length);
}

/* Serve the sockets once, waiting at most until `deadline` (ns). Returns whether a command is waiting. */
static bool serve(int64_t deadline) {
    struct epoll_event ready[READY_MAX];
    int64_t left = deadline - monotonic();
    int wait_ms = left <= 0 ? 0 : left > 1000000000 ? 1000 : (int)((left + 999999) / 1000000);
    int n = epoll_wait(epoll_fd, ready, READY_MAX, wait_ms);
    bool command = false;
    for (int i = 0; i < n; i++) {
        if (ready[i].data.ptr) on_ready(ready[i].data.ptr, ready[i].events);
        else command = true;
    }
    return command;
}

/* ---- commands ---- */

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, int64_t *values, int64_t n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    printf(", \"%s\": ", name);
    if (n == 0) {
        printf("null");
        return;
    }
    const struct { const char *name; double share; } points[] = {{"p50", .5}, {"p99", .99}, {"p99.9", .999}, {"max", 1}};
    for (int i = 0; i < 4; i++) {
        int64_t at = (int64_t)(points[i].share * (double)n + 0.999999) - 1; /* nearest rank */
        printf("%s\"%s\": %.4f", i ? ", " : "{", points[i].name, (double)values[at < 0 ? 0 : at] / 1e6);
    }
    printf("}");
}

static void open_reader(void) {
    Reader *r = &readers[reader_count++];
    memset(r, 0, sizeof *r);
    r->id = r->last_id = -1;
    start(r);
}

/* Open `n` streams, at most `inflight` of them unanswered at a time. */
static void open_readers(int n, int inflight, int64_t deadline) {
    int target = reader_count + n;
    while ((reader_count < target || connecting_count) && monotonic() < deadline) {
        while (reader_count < target && connecting_count < inflight) open_reader();
        serve(deadline);
    }
}

static void do_connect(int n, int inflight, int64_t timeout_ms, int n_groups) {
    if (n < 1 || reader_count + n > MAX_READERS || inflight < 1 || n_groups < 1) die("bad connect");
    groups = n_groups;
    int gone_before = gone_count;
    double cpu = cpu_seconds();
    int64_t start = monotonic();
    open_readers(n, inflight, start + timeout_ms * 1000000);
    printf("{\"op\": \"connect\", \"asked\": %d, \"open\": %d, \"failed\": %d, \"retries\": %d, \"unanswered\": %d, \"seconds\": %.6f, "
           "\"cpu_s\": %.6f}\n",
           n, open_count, gone_count - gone_before, retries, connecting_count, (double)(monotonic() - start) / 1e9,
           cpu_seconds() - cpu);
}

/* From now on `check_event` accounts for `n` numbers and `extra` readers more than there are. */
static void begin(int64_t first, int64_t n, int extra) {
    if (n < 1 || n > MAX_EVENTS || reader_count + extra < 1 || reader_count + extra > MAX_READERS) die("bad numbers");
    size_t cells = (size_t)n * (size_t)(reader_count + extra);
    expect_first = first;
    expect_count = n;
    seen = allocate(cells, 1);
    latency = allocate(cells, sizeof *latency);
    memset(latency, 1, cells * sizeof *latency); /* touched now, not while the clock runs */
    rank = allocate((size_t)n, sizeof *rank);
    complete = allocate((size_t)n, sizeof *complete);
    length_of = allocate((size_t)n, sizeof *length_of);
    last_reader = allocate((size_t)n, sizeof *last_reader);
    placed = ascending || extra ? (int32_t)n : 0;
    for (int64_t i = 0; i < n; i++) rank[i] = ascending || extra ? (int32_t)i : -1;
    for (int i = 0; i < reader_count; i++) readers[i].next = readers[i].got = 0;
    int64_t refused = count.refused;
    memset(&count, 0, sizeof count);
    count.refused = refused;
    first_offered = INT64_MAX;
    last_delivered = 0;
    expecting = true;
}

static void end(int64_t cells, int gone_before, bool timed_out, double seconds, double cpu) {
    expecting = false;
    double span = count.deliveries ? (double)(last_delivered - first_offered) / 1e9 : 0;
    int64_t whole = 0;
    for (int64_t i = 0; i < expect_count; i++)
        if (complete[i] == reader_count) last_reader[whole++] = last_reader[i];
    printf("{\"op\": \"expect\", \"readers\": %d, \"events\": %lld, \"deliveries\": %lld, \"missing\": %lld, "
           "\"doubled\": %lld, \"out_of_order\": %lld, \"stray\": %lld, \"unequal\": %lld, \"id_breaks\": %lld, "
           "\"lost_readers\": %d, \"timed_out\": %s, \"bytes\": %lld, \"span_s\": %.6f, \"seconds\": %.6f, "
           "\"cpu_s\": %.6f, \"data_bytes\": %lld",
           reader_count, (long long)expect_count, (long long)count.deliveries, (long long)(cells - count.deliveries),
           (long long)count.doubled, (long long)count.out_of_order, (long long)count.stray, (long long)count.unequal,
           (long long)count.id_breaks, gone_count - gone_before, timed_out ? "true" : "false", (long long)count.bytes,
           span, seconds, cpu, (long long)length_of[0]);
    print_percentiles("delivery_ms", latency, count.deliveries);
    print_percentiles("last_reader_ms", last_reader, whole);
    printf("}\n");
    free(seen);
    free(latency);
    free(rank);
    free(complete);
    free(length_of);
    free(last_reader);
}

static void linger(void) {
    int64_t until = monotonic() + (int64_t)LINGER_MS * 1000000;
    while (monotonic() < until) serve(until);
}

static void do_expect(int64_t first, int64_t n, int64_t timeout_ms) {
    begin(first, n, 0);
    int64_t cells = n * reader_count;
    int gone_before = gone_count;
    printf("ready\n");
    double cpu = cpu_seconds();
    int64_t start = monotonic(), deadline = start + timeout_ms * 1000000;
    while (count.deliveries < cells && monotonic() < deadline) serve(deadline);
    cpu = cpu_seconds() - cpu;
    bool timed_out = count.deliveries < cells;
    double seconds = (double)(monotonic() - start) / 1e9;
    linger();
    end(cells, gone_before, timed_out, seconds, cpu);
}

/* Only for the first readers of a process: its readers are the ones that are given the past. */
static void do_replay(int n, int inflight, int64_t timeout_ms, int64_t first, int64_t n_numbers) {
    if (reader_count || n < 1 || inflight < 1) die("bad replay");
    begin(first, n_numbers, n);
    int gone_before = gone_count;
    double cpu = cpu_seconds();
    int64_t start = monotonic(), cells = n_numbers * n;
    replayed = n_numbers;
    open_readers(n, inflight, start + timeout_ms * 1000000);
    cpu = cpu_seconds() - cpu;
    bool timed_out = count.deliveries < cells;
    double seconds = (double)(monotonic() - start) / 1e9;
    linger();
    replayed = 0;
    end(cells, gone_before, timed_out, seconds, cpu);
}

static void do_idle(int64_t ms) {
    double cpu = cpu_seconds();
    int gone_before = gone_count;
    memset(&count, 0, sizeof count);
    int64_t start = monotonic(), deadline = start + ms * 1000000;
    while (monotonic() < deadline) serve(deadline);
    printf("{\"op\": \"idle\", \"open\": %d, \"lost_readers\": %d, \"stray\": %lld, \"bytes\": %lld, \"seconds\": %.6f, "
           "\"cpu_s\": %.6f}\n",
           open_count, gone_count - gone_before, (long long)count.stray, (long long)count.bytes,
           (double)(monotonic() - start) / 1e9, cpu_seconds() - cpu);
}

/* Read one command line, byte by byte: they are few. Returns false at the end of stdin. */
static bool do_command(void) {
    char line[COMMAND_BYTES];
    size_t length = 0;
    for (;;) {
        ssize_t n = read(0, line + length, 1);
        if (n <= 0) return false;
        if (line[length] == '\n') break;
        if (++length >= sizeof line - 1) die("a command that long?");
    }
    line[length] = 0;
    long long a, b, c;
    long long d, e;
    if (sscanf(line, "connect %lld %lld %lld %lld", &a, &b, &c, &d) == 4) do_connect((int)a, (int)b, c, (int)d);
    else if (sscanf(line, "replay %lld %lld %lld %lld %lld %1023s", &a, &b, &c, &d, &e, path) == 6)
        do_replay((int)a, (int)b, c, d, e);
    else if (sscanf(line, "expect %lld %lld %lld", &a, &b, &c) == 3) do_expect(a, b, c);
    else if (sscanf(line, "idle %lld", &a) == 1) do_idle(a);
    else if (strcmp(line, "quit") == 0) return false;
    else die("unknown command: %s", line);
    return true;
}

int main(int argc, char **argv) {
    if (argc != 6) die("usage: client HOST PORT PATH CPU FLAGS");
    setvbuf(stdout, NULL, _IOLBF, 0);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die("bad address %s", argv[1]);
    host = argv[1];
    port = argv[2];
    if (strlen(argv[3]) >= sizeof path) die("the path is too long");
    strcpy(path, argv[3]);
    int cpu = atoi(argv[4]);
    if (cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
        if (sched_setaffinity(0, sizeof cpus, &cpus) < 0) die("cannot be pinned to core %d: %s", cpu, strerror(errno));
    }
    ascending = strchr(argv[5], 'o') != NULL;
    check_ids = strchr(argv[5], 'i') != NULL;
    small_buffers = strchr(argv[5], 's') != NULL;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &interest) < 0) die("stdin must be a pipe: %s", strerror(errno));
    for (;;)
        if (serve(monotonic() + 1000000000) && !do_command()) break;
    return 0;
}
