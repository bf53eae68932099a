// One stream of the live feed that does not stay dead.
//
// A browser's EventSource comes back by itself after a cut, but closes for ever on any answer that is not an event
// stream, and never notices a connection that has gone silent. So: a closed source is made again after a jittered,
// growing pause; and when ticks stop for WATCHDOG_TICKS intervals the connection is given up and made again. Each new
// source starts where the last event left off. A page in the back/forward cache holds no connection.

/**
 * @typedef {"connecting" | "live" | "stale" | "reconnecting"} StreamState
 * `stale`: connected, but the server itself is not sure to hear the log.
 */

const WATCHDOG_TICKS = 2.5;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;

/**
 * Emits `state` when its state or its `upToDateAt` changes, and `item` and `reset` (MessageEvent) from the server.
 */
export class LiveStream extends EventTarget {
  /**
   * @param {string} query The filter, as a query without `last_event_id`.
   * @param {string} position Where to start.
   * @param {number} tickS Seconds between the server's ticks.
   */
  constructor(query, position, tickS) {
    super();
    this.query = query;
    this.position = position;
    /** @type {StreamState} */
    this.state = "connecting";
    /** @type {Date | null} The server's time of the last proof that nothing is missing here. */
    this.upToDateAt = null;
    this.silenceMs = tickS * 1000 * WATCHDOG_TICKS;
    this.clockOffsetMs = 0;
    this.failures = 0;
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.watchdog = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.retry = undefined;
  }

  /** Connect, and follow the page's life: leave with it, come back with it. */
  start() {
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.open();
    });
    addEventListener("online", () => {
      if (this.state === "reconnecting") this.open();
    });
    this.open();
  }

  /** The server's time now, as well as it is known. */
  now() {
    return new Date(Date.now() + this.clockOffsetMs);
  }

  /**
   * Go on from another position, with another filter where one is given.
   *
   * @param {string} position
   * @param {string} [query]
   */
  restart(position, query = this.query) {
    this.position = position;
    this.query = query;
    this.open();
  }

  /** Make a new connection from the last known position. */
  open() {
    this.close();
    const query = new URLSearchParams(this.query);
    query.set("last_event_id", this.position);
    const source = new EventSource(`/stream?${query}`);
    this.source = source;
    source.addEventListener("tick", (event) => this.ticked(event));
    source.addEventListener("item", (event) => this.heard(event, true));
    source.addEventListener("reset", (event) => this.heard(event, true));
    source.addEventListener("bye", (event) => this.heard(event, false));
    source.addEventListener("error", () => this.failed(source));
    this.watch();
  }

  /** Leave. `open` comes back. */
  close() {
    clearTimeout(this.watchdog);
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  /** @param {MessageEvent<string>} event */
  ticked(event) {
    const { now, live } = /** @type {{now: string, live: boolean}} */ (JSON.parse(event.data));
    this.failures = 0;
    this.clockOffsetMs = Date.parse(now) - Date.now();
    if (live) this.upToDateAt = new Date(now);
    this.heard(event, false);
    this.enter(live ? "live" : "stale");
  }

  /**
   * @param {MessageEvent<string>} event
   * @param {boolean} pass Whether the page wants it.
   */
  heard(event, pass) {
    this.watch();
    if (event.lastEventId) this.position = event.lastEventId;
    if (!pass) return;
    if (this.state === "live") this.upToDateAt = this.now();
    this.dispatchEvent(new MessageEvent(event.type, { data: event.data, lastEventId: event.lastEventId }));
    this.enter(this.state);
  }

  /** @param {EventSource} source */
  failed(source) {
    this.enter("reconnecting");
    if (source.readyState === EventSource.CLOSED) this.again();
  }

  /** Come back after a pause: random, so that pages cut together return apart, and longer each time. */
  again() {
    this.close();
    const pause = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.failures++);
    this.retry = setTimeout(() => this.open(), pause * (0.5 + Math.random()));
  }

  watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => {
      this.enter("reconnecting");
      this.again();
    }, this.silenceMs);
  }

  /** @param {StreamState} state */
  enter(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
