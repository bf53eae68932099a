// The ticker, live: keeps the list that the server rendered equal to the one it would render now.
//
// Per item the highest version wins. The page's position and the stream's `last_event_id` close the gap between page
// and stream. After a `reset` what follows is held, the snapshot replaces the list, and what is newer is applied.

/** @import { ItemEvent, PageData, PublicItem, TickerData } from "./page-data.js" */
/** @import { LiveStream } from "./live-stream.js" */
import { Dates } from "./dates.js";
import { itemView, make, replaceItem, unpin } from "./item-view.js";
import { count, element, say } from "./page-data.js";

/** New items are announced together, so that a burst is one sentence. */
const ANNOUNCE_AFTER_MS = 1_500;
/** Most events kept while a snapshot is fetched; beyond it a newer snapshot is fetched instead. */
const HELD_MAX = 1_000;
const REFETCH_MIN_MS = 500;
const REFETCH_MAX_MS = 15_000;
/** Longest wait for a snapshot. */
const FETCH_TIMEOUT_MS = 20_000;
/** Longest delay a browser's timer takes. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** @typedef {{id: string, version: number, published: number, element: HTMLElement}} Entry */

export class Ticker {
  /**
   * @param {PageData & TickerData} data
   * @param {LiveStream} stream
   */
  constructor(data, stream) {
    this.data = data;
    this.stream = stream;
    this.dates = new Dates(data);
    this.days = element("days");
    this.more = data.more;
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
    for (const article of this.days.querySelectorAll("article")) this.adopt(article);
    /** @type {ItemEvent[] | null} Events that wait for a snapshot. */
    this.held = null;
    /** @type {string} Where the stream stood at its last reset. */
    this.resetAt = "";
    /** Counts the reasons to fetch: a snapshot that was asked for before the last one is not used. */
    this.resets = 0;
    this.news = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.announcing = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.clock = undefined;
  }

  start() {
    this.stream.addEventListener("item", (event) => {
      this.take(JSON.parse(/** @type {MessageEvent<string>} */ (event).data));
    });
    this.stream.addEventListener("reset", (event) => {
      this.restartList(/** @type {MessageEvent<string>} */ (event).lastEventId);
    });
    this.schedule();
    this.stream.start();
  }

  /** @param {ItemEvent} event */
  take(event) {
    if (!this.held) this.apply(event);
    else if (this.held.push(event) > HELD_MAX) this.restartList(this.stream.position);
  }

  /** @param {ItemEvent} event */
  apply(event) {
    const known = this.entries.get(event.id);
    if (known && known.version >= event.version) return;
    if (!this.wanted(event)) {
      if (known) this.drop(known);
      return;
    }
    if (known) this.update(known, event);
    else if (this.insert(event) && event.change === "publish" && !event.backfill) this.announce();
  }

  /**
   * Whether an item belongs on this page. A stub has lost its tags and level; that the stream sent it tells that they
   * matched.
   *
   * @param {PublicItem} item
   */
  wanted(item) {
    const { rubric, language, thread, tag, level } = this.data.filter;
    const stub = item.status === "withdrawn";
    return (
      one(rubric, item.rubric) &&
      one(language, item.language) &&
      one(thread, item.thread ?? "") &&
      (stub || one(level, item.level)) &&
      (stub || !tag.length || item.tags.some((value) => tag.includes(value)))
    );
  }

  /**
   * @param {Entry} entry
   * @param {PublicItem} item
   */
  update(entry, item) {
    const fresh = this.view(item);
    replaceItem(entry.element, fresh);
    this.entries.set(item.id, { ...entry, version: item.version, element: fresh });
    this.schedule();
  }

  /**
   * Put a new item at its place. What is older than the page is left to the page of older items; on such a page, what
   * is newer is left to the pages before it.
   *
   * @param {PublicItem} item
   * @returns {boolean} Whether it is on the page now.
   */
  insert(item) {
    const sorted = [...this.entries.values()].sort(newestFirst);
    const entry = { id: item.id, version: item.version, published: Date.parse(item.first_published_at) };
    const next = sorted.find((other) => newestFirst(entry, other) < 0);
    if (!next && this.more) return false;
    if (this.data.before && (!sorted.length || next === sorted[0])) return false;
    const fresh = this.view(item);
    fresh.classList.add("item-new");
    const feed = this.feed(this.dates.day(new Date(item.first_published_at)));
    feed.insertBefore(fresh, next?.element.parentElement === feed ? next.element : null);
    this.entries.set(item.id, { ...entry, element: fresh });
    element("empty").hidden = true;
    this.schedule();
    if (this.entries.size > this.data.list_items_max) this.restartList("");
    return true;
  }

  /** @param {Entry} entry */
  drop(entry) {
    this.entries.delete(entry.id);
    const day = entry.element.closest("section");
    entry.element.remove();
    if (!day?.querySelector("article")) day?.remove();
    element("empty").hidden = this.entries.size > 0;
  }

  /**
   * The list is to be made anew from a snapshot that holds all up to a position; what follows is held until then.
   *
   * @param {string} position
   */
  restartList(position) {
    this.resets++;
    this.resetAt = position;
    if (this.held) this.held = [];
    else void this.refresh();
  }

  /** Replace the list by the snapshot, then apply what came meanwhile. Tries until it has one. */
  async refresh() {
    this.held = [];
    for (let failures = 0; this.held; ) {
      try {
        await this.replace();
      } catch {
        const pause = Math.min(REFETCH_MAX_MS, REFETCH_MIN_MS * 2 ** failures++);
        await new Promise((resume) => setTimeout(resume, pause * (0.5 + Math.random())));
      }
    }
  }

  async replace() {
    const query = new URLSearchParams(this.data.query);
    query.set("limit", String(this.data.page_items));
    if (this.data.before) query.set("before", this.data.before);
    const { resets } = this;
    const response = await fetch(`/api/items?${query}`, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`snapshot: ${response.status}`);
    /** @type {{items: PublicItem[], position: string, next: string | null}} */
    const { items, position, next } = await response.json();
    if (resets !== this.resets) return;
    const held = this.held ?? [];
    this.held = null;
    this.list(items);
    this.more = next !== null;
    this.linkOlder(next);
    for (const event of held) this.apply(event);
    if (!follows(position, this.resetAt)) {
      // A process that is behind the stream's answered: only a stream from its position on misses nothing.
      setTimeout(() => this.stream.restart(position), REFETCH_MIN_MS * (0.5 + Math.random()));
    }
  }

  /** @param {PublicItem[]} items Newest first. */
  list(items) {
    this.entries.clear();
    this.days.replaceChildren();
    for (const item of items) {
      const fresh = this.view(item);
      this.feed(this.dates.day(new Date(item.first_published_at))).append(fresh);
      const published = Date.parse(item.first_published_at);
      this.entries.set(item.id, { id: item.id, version: item.version, published, element: fresh });
    }
    element("empty").hidden = items.length > 0;
    this.schedule();
  }

  /**
   * The feed of a day, made at its place where there is none yet.
   *
   * @param {string} day
   */
  feed(day) {
    const sections = /** @type {HTMLElement[]} */ ([...this.days.children]);
    const found = sections.find((section) => section.dataset["day"] === day);
    if (found) return /** @type {HTMLElement} */ (found.lastElementChild);
    const heading = make("h2", { class: "day-heading", id: `day-${day}` });
    const feed = make("div", { class: "day-items", role: "feed", "aria-labelledby": `day-${day}` });
    const section = make("section", { class: "day", "data-day": day }, heading, feed);
    this.title(section);
    this.days.insertBefore(section, sections.find((other) => (other.dataset["day"] ?? "") < day) ?? null);
    return feed;
  }

  /** @param {HTMLElement} section */
  title(section) {
    const day = section.dataset["day"] ?? "";
    const heading = /** @type {HTMLElement} */ (section.firstElementChild);
    const today = day === this.dates.day(this.stream.now());
    heading.replaceChildren(
      ...(today ? [make("span", { class: "day-today" }, say(this.data, "today")), " "] : []),
      this.dates.heading(day),
    );
    heading.normalize();
  }

  /** @param {HTMLElement} article One that the server rendered. */
  adopt(article) {
    const { id = "", version = "0", published = "" } = article.dataset;
    this.entries.set(id, {
      id,
      version: Number(version),
      published: Date.parse(published),
      element: article,
    });
  }

  /** @param {PublicItem} item */
  view(item) {
    return itemView(item, this.data, this.dates, this.stream.now());
  }

  /** One timer for what changes by time alone: a new day, the end of a pin. */
  schedule() {
    clearTimeout(this.clock);
    const now = this.stream.now();
    let at = this.dates.midnightAfter(now);
    for (const article of this.pinned()) {
      const end = new Date(article.dataset["pinnedUntil"] ?? "");
      if (end < at) at = end;
    }
    this.clock = setTimeout(() => this.timePassed(), Math.min(TIMER_MAX_MS, Math.max(0, at.getTime() - now.getTime()) + 10));
  }

  timePassed() {
    for (const section of this.days.children) this.title(/** @type {HTMLElement} */ (section));
    for (const article of this.pinned()) {
      if (new Date(article.dataset["pinnedUntil"] ?? "") <= this.stream.now()) unpin(article);
    }
    this.schedule();
  }

  /** @returns {NodeListOf<HTMLElement>} */
  pinned() {
    return this.days.querySelectorAll("article[data-pinned-until]");
  }

  announce() {
    this.news++;
    this.announcing ??= setTimeout(() => {
      element("announcer").textContent = count(this.data, "new_items", this.news);
      this.news = 0;
      this.announcing = undefined;
    }, ANNOUNCE_AFTER_MS);
  }

  /** @param {string | null} next */
  linkOlder(next) {
    const link = /** @type {HTMLAnchorElement} */ (element("older"));
    link.hidden = next === null;
    const query = new URLSearchParams(this.data.page_query);
    if (next !== null) query.set("before", next);
    link.href = `${this.data.edition}?${query}`;
  }
}

/**
 * Order of the list: by first publication, then id.
 *
 * @param {{published: number, id: string}} a
 * @param {{published: number, id: string}} b
 */
function newestFirst(a, b) {
  return b.published - a.published || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
}

/**
 * @param {string[]} values None wants all.
 * @param {string} value
 */
function one(values, value) {
  return !values.length || values.includes(value);
}

/**
 * Whether a position is at or after another of the same history.
 *
 * @param {string} position `seq-mark`
 * @param {string} other "" comes before all.
 */
function follows(position, other) {
  const [ours, theirs] = [position, other].map((text) => Number(text.split("-")[0]));
  return other === "" || Number(ours) > Number(theirs) || position === other;
}
