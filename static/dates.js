// Times in the site's zone and the forms of the page's language: the browser's twin of livefeed/reader/dates.py.
// Words, patterns and the zone's offsets come with the page, so that both sides agree: a browser's own zone database is
// as old as the browser. It is asked only for times outside what the page knows.

/** @import { PageData } from "./page-data.js" */

/** @typedef {{year: number, month: number, day: number, hour: number, minute: number, second: number}} Local */
/** @typedef {{iso: string, date: string, at: string, clock: string}} Moment « 08.08.2024 », « à », « 13 H 55 » */

const SEARCH_STEP_MS = 3_600_000;
const DAY_HOURS_MAX = 26;

export class Dates {
  /** @param {PageData} data */
  constructor(data) {
    this.data = data;
    /** @type {Intl.DateTimeFormat | undefined} */
    this.format = undefined;
  }

  /**
   * @param {Date} at
   * @returns {Moment}
   */
  moment(at) {
    const local = this.local(at);
    const clock = fill(this.pattern("clock"), { HH: pad(local.hour, 2), MM: pad(local.minute, 2) });
    const joiner = this.pattern("moment").replace("{date}", "").replace("{clock}", "");
    return { iso: at.toISOString(), date: this.written("date", local), at: joiner, clock };
  }

  /**
   * The time of day to the second, for the connection's label.
   *
   * @param {Date} at
   */
  seconds(at) {
    const { hour, minute, second } = this.local(at);
    return [hour, minute, second].map((value) => pad(value, 2)).join(":");
  }

  /**
   * The day of the site's zone, as `2024-08-08`.
   *
   * @param {Date} at
   */
  day(at) {
    const { year, month, day } = this.local(at);
    return `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  }

  /**
   * « Jeudi 8 août 2024 ».
   *
   * @param {string} day As `day` gives it.
   */
  heading(day) {
    const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
    const text = this.written("day", { year, month, day: date, hour: 0, minute: 0, second: 0 });
    return text.charAt(0).toUpperCase() + text.slice(1);
  }

  /**
   * The next start of a day in the site's zone: the first instant of another day, found by halving, as no browser
   * offers a calendar with zones.
   *
   * @param {Date} at
   */
  midnightAfter(at) {
    const today = this.day(at);
    let low = at.getTime();
    let high = low;
    for (let hours = 0; this.day(new Date(high)) === today && hours < DAY_HOURS_MAX; hours++) {
      low = high;
      high += SEARCH_STEP_MS;
    }
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.day(new Date(middle)) === today) low = middle;
      else high = middle;
    }
    return new Date(high);
  }

  /**
   * @param {Date} at
   * @returns {Local}
   */
  local(at) {
    const offset = this.offset(at.getTime());
    if (offset === undefined) return this.asked(at);
    const shifted = new Date(at.getTime() + offset * 60_000);
    return {
      year: shifted.getUTCFullYear(),
      month: shifted.getUTCMonth() + 1,
      day: shifted.getUTCDate(),
      hour: shifted.getUTCHours(),
      minute: shifted.getUTCMinutes(),
      second: shifted.getUTCSeconds(),
    };
  }

  /**
   * The zone's offset in minutes, where the page knows it.
   *
   * @param {number} ms
   */
  offset(ms) {
    const { offsets } = this.data;
    if (ms >= (offsets.at(-1)?.[0] ?? 0)) return undefined;
    return offsets.findLast(([from]) => from <= ms)?.[1];
  }

  /**
   * What the browser knows of a time.
   *
   * @param {Date} at
   * @returns {Local}
   */
  asked(at) {
    // Built once: making an Intl object costs far more than formatting with it.
    this.format ??= new Intl.DateTimeFormat("en-u-ca-gregory-nu-latn", {
      timeZone: this.data.zone,
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
      hourCycle: "h23",
    });
    /** @type {Record<string, number>} */
    const parts = {};
    for (const { type, value } of this.format.formatToParts(at)) parts[type] = Number(value);
    const part = (/** @type {string} */ name) => parts[name] ?? 0;
    return {
      year: part("year"),
      month: part("month"),
      day: part("day"),
      hour: part("hour"),
      minute: part("minute"),
      second: part("second"),
    };
  }

  /**
   * @param {string} name
   * @param {Local} local
   */
  written(name, local) {
    const weekday = (new Date(Date.UTC(local.year, local.month - 1, local.day)).getUTCDay() + 6) % 7;
    return fill(this.pattern(name), {
      weekday: this.data.weekdays[weekday] ?? "",
      dd: pad(local.day, 2),
      d: local.day === 1 ? this.pattern("first") : String(local.day),
      mm: pad(local.month, 2),
      month: this.data.months[local.month - 1] ?? "",
      yyyy: pad(local.year, 4),
    });
  }

  /** @param {string} name */
  pattern(name) {
    return String(this.data.messages[name]);
  }
}

/**
 * @param {number} value
 * @param {number} width
 */
function pad(value, width) {
  return String(value).padStart(width, "0");
}

/**
 * @param {string} pattern
 * @param {Record<string, string>} values
 */
function fill(pattern, values) {
  return pattern.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
