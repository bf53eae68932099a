// What the server tells the page's modules: the JSON element `#page-data`, and the types of the wire.

/**
 * @typedef {object} PublicItem An item as the stream and the API send it; times are UTC.
 * @property {string} id
 * @property {number} version
 * @property {"published" | "withdrawn"} status
 * @property {string} url Absolute address of the item's page.
 * @property {string} headline
 * @property {string} body_html Sanitised by the server.
 * @property {string} rubric
 * @property {string[]} tags
 * @property {string | null} thread
 * @property {string[]} authors
 * @property {string | null} source
 * @property {string} language
 * @property {"ltr" | "rtl"} direction
 * @property {"normal" | "important" | "urgent"} level
 * @property {string | null} pinned_until
 * @property {"none" | "unverified" | "confirmed" | "denied"} verification
 * @property {{url: string, alt: string, credit: string} | null} image
 * @property {Record<string, string>} alternates Language to item id.
 * @property {{note: string, at: string}[]} corrections
 * @property {"free" | "subscribers"} access
 * @property {string} first_published_at
 * @property {string | null} updated_at
 * @property {number} reading_time Minutes.
 */

/** @typedef {PublicItem & {change: string, backfill?: boolean}} ItemEvent */

/** @typedef {string | Record<string, string>} Message A text with {placeholders}, or plural forms by category. */

/**
 * @typedef {object} PageData
 * @property {string} site Name of the site.
 * @property {string} language
 * @property {string} edition Path of the language's ticker.
 * @property {string} zone IANA name of the site's time zone.
 * @property {[number, number][]} offsets From when (ms since 1970) the zone has which offset (minutes); the last
 *   entry says until when.
 * @property {number} tick_s Seconds between two ticks of the stream.
 * @property {string[]} months From January.
 * @property {string[]} weekdays From Monday.
 * @property {Record<string, string>} rubrics Slug to name.
 * @property {Record<string, string>} names Language to its own name.
 * @property {Record<string, Message>} messages
 * @property {string} position Where the page stands in the log.
 */

/**
 * @typedef {object} TickerData
 * @property {Record<"rubric" | "language" | "thread" | "tag" | "level", string[]>} filter
 * @property {string} query The filter as a query, for the stream and the API.
 * @property {string} page_query The same for links to pages, where the edition is the language.
 * @property {string | null} before Cursor of a page of older items.
 * @property {boolean} more Whether there are older items.
 * @property {number} page_items
 * @property {number} list_items_max
 */

/**
 * @typedef {object} ItemPageData
 * @property {string} rendered_at
 * @property {{id: string, version: number, rubric: string, thread: string | null}} item
 */

/**
 * The page's data.
 *
 * @returns {any} A `PageData` and what the page adds to it; the caller knows which page it is on.
 */
export function pageData() {
  return JSON.parse(element("page-data").textContent ?? "");
}

/**
 * An element that the page always has.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * A message with its placeholders filled in.
 *
 * @param {PageData} data
 * @param {string} name
 * @param {Record<string, string>} [values]
 */
export function say(data, name, values = {}) {
  const message = data.messages[name];
  if (typeof message !== "string") throw new Error(`no plain message ${name}`);
  return Object.entries(values).reduce((text, [key, value]) => text.replace(`{${key}}`, () => value), message);
}

/**
 * The plural message for a number.
 *
 * @param {PageData} data
 * @param {string} name
 * @param {number} n
 */
export function count(data, name, n) {
  const forms = /** @type {Record<string, string>} */ (data.messages[name]);
  const form = forms[new Intl.PluralRules(data.language).select(n)] ?? forms["other"] ?? "";
  return form.replace("{n}", String(n));
}
