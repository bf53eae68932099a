// The DOM of an item: the browser's twin of templates/item.html and reader/item_view.py, element for element.
// Texts become text nodes; only `body_html`, which the server has sanitised, becomes HTML, through the one policy.

/** @import { PageData, PublicItem } from "./page-data.js" */
/** @import { Dates, Moment } from "./dates.js" */
import { count, say } from "./page-data.js";

/**
 * The page's one Trusted Types policy. Browsers without Trusted Types take the string as it is.
 *
 * @type {{createHTML(html: string): string}}
 */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("livefeed", {
  createHTML: (/** @type {string} */ html) => html,
}) ?? { createHTML: (html) => html };

/**
 * An item's article.
 *
 * @param {PublicItem} item
 * @param {PageData} data
 * @param {Dates} dates
 * @param {Date} now
 * @param {{page?: boolean}} [options] `page`: on the item's own page, where the headline is the page's.
 * @returns {HTMLElement}
 */
export function itemView(item, data, dates, now, { page = false } = {}) {
  const withdrawn = item.status === "withdrawn";
  const published = new Date(item.first_published_at);
  const kind = withdrawn ? " item-withdrawn" : item.level !== "normal" ? ` item-${item.level}` : "";
  const article = make("article", {
    class: `item${kind}`,
    id: `item-${item.id}`,
    "data-id": item.id,
    "data-version": String(item.version),
    "data-published": published.toISOString(),
    lang: item.language,
    dir: item.direction,
    "aria-labelledby": `headline-${item.id}`,
  });
  if (isPinned(item, now)) article.dataset["pinnedUntil"] = new Date(item.pinned_until ?? "").toISOString();
  article.append(dateline(item, data, dates.moment(published), now), headline(item, page));
  if (item.image) article.append(figure(item.image, data));
  if (item.body_html) {
    const body = make("div", { class: "item-body" });
    body.innerHTML = policy.createHTML(item.body_html);
    article.append(body);
  }
  if (item.corrections.length) {
    const list = make("ul", { class: "item-corrections" });
    for (const { note, at } of item.corrections) {
      const entry = make("li", {}, make("strong", {}, say(data, "correction")), " ");
      entry.append(...around(data, "corrected", "when", time(dates, at)), ` ${note}`);
      list.append(entry);
    }
    article.append(list);
  }
  article.append(...foot(item, data, dates), ...links(item, data));
  article.normalize();
  return article;
}

/**
 * Take the pin's mark off an article whose pin has ended.
 *
 * @param {HTMLElement} article
 */
export function unpin(article) {
  const mark = article.querySelector(".mark-pinned");
  mark?.previousSibling?.remove();
  mark?.remove();
  delete article.dataset["pinnedUntil"];
}

/**
 * Replace an article by a newer one of the same item; the focus stays on the same link.
 *
 * @param {Element} old
 * @param {HTMLElement} fresh
 */
export function replaceItem(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const index = focused ? [...old.querySelectorAll("a")].indexOf(/** @type {HTMLAnchorElement} */ (focused)) : -1;
  old.replaceWith(fresh);
  if (index >= 0) fresh.querySelectorAll("a").item(index)?.focus({ preventScroll: true });
}

/**
 * @param {PublicItem} item
 * @param {PageData} data
 * @param {Moment} published
 * @param {Date} now
 */
function dateline(item, data, published, now) {
  const name = data.rubrics[item.rubric];
  const line = make(
    "p",
    { class: "item-dateline" },
    make(
      "time",
      { class: "item-time", datetime: published.iso },
      make("span", { class: "item-date" }, published.date),
      make("span", { class: "item-at" }, published.at),
      make("span", { class: "item-clock" }, published.clock),
    ),
    " ",
    name
      ? make("a", { class: `item-rubric rubric-${item.rubric}`, href: filtered(data, "rubric", item.rubric) }, name)
      : make("span", { class: "item-rubric" }, item.rubric),
  );
  for (const mark of marks(item, now)) line.append(" ", make("strong", { class: `mark mark-${mark}` }, say(data, mark)));
  return line;
}

/**
 * @param {PublicItem} item
 * @param {Date} now
 */
function marks(item, now) {
  if (item.status === "withdrawn") return [];
  /** @type {string[]} */
  const found = item.level === "normal" ? [] : [item.level];
  if (isPinned(item, now)) found.push("pinned");
  if (item.verification !== "none") found.push(item.verification);
  if (item.access === "subscribers") found.push("subscribers");
  return found;
}

/**
 * @param {PublicItem} item
 * @param {Date} now
 */
function isPinned(item, now) {
  return item.status === "published" && item.pinned_until !== null && new Date(item.pinned_until) > now;
}

/**
 * @param {PublicItem} item
 * @param {boolean} page
 */
function headline(item, page) {
  const head = make(page ? "h1" : "h3", { class: "item-headline", id: `headline-${item.id}` });
  if (page || item.status === "withdrawn") head.append(item.headline);
  else head.append(make("a", { href: new URL(item.url, location.href).pathname }, item.headline));
  return head;
}

/**
 * @param {NonNullable<PublicItem["image"]>} image
 * @param {PageData} data
 */
function figure(image, data) {
  const result = make("figure", { class: "item-figure" });
  result.append(make("img", { src: image.url, alt: image.alt, loading: "lazy", decoding: "async" }));
  if (image.credit) result.append(make("figcaption", {}, say(data, "credit", { name: image.credit })));
  return result;
}

/**
 * @param {PublicItem} item
 * @param {PageData} data
 * @param {Dates} dates
 */
function foot(item, data, dates) {
  /** @type {HTMLElement[]} */
  const pieces = [];
  if (item.authors.length) pieces.push(make("span", {}, say(data, "by", { names: names(item.authors, data) })));
  if (item.source) pieces.push(make("span", {}, say(data, "source", { name: item.source })));
  if (item.updated_at && item.status === "published") {
    pieces.push(make("span", {}, ...around(data, "updated", "when", time(dates, item.updated_at))));
  }
  if (item.reading_time) pieces.push(make("span", {}, count(data, "reading_time", item.reading_time)));
  if (!pieces.length) return [];
  return [make("p", { class: "item-foot" }, ...pieces.flatMap((piece, i) => (i ? [" • ", piece] : [piece])))];
}

/**
 * @param {PublicItem} item
 * @param {PageData} data
 */
function links(item, data) {
  if (item.status === "withdrawn") return [];
  const found = item.tags.map((tag) => make("a", { href: filtered(data, "tag", tag) }, tag));
  if (item.thread) found.unshift(make("a", { href: filtered(data, "thread", item.thread) }, say(data, "thread")));
  for (const [language, id] of Object.entries(item.alternates)) {
    const name = data.names[language];
    if (name) found.push(make("a", { href: `/i/${id}`, hreflang: language, lang: language }, name));
  }
  if (!found.length) return [];
  return [make("p", { class: "item-links" }, ...found.flatMap((link, i) => (i ? [" ", link] : [link])))];
}

/**
 * @param {Dates} dates
 * @param {string} at
 */
function time(dates, at) {
  const moment = dates.moment(new Date(at));
  return make("time", { datetime: moment.iso }, moment.date + moment.at + moment.clock);
}

/**
 * A message with an element in a placeholder's place.
 *
 * @param {PageData} data
 * @param {string} name
 * @param {string} placeholder
 * @param {HTMLElement} inner
 */
function around(data, name, placeholder, inner) {
  const [before = "", after = ""] = String(data.messages[name]).split(`{${placeholder}}`);
  return [before, inner, after];
}

/**
 * Names as an enumeration: « A, B et C ».
 *
 * @param {string[]} all
 * @param {PageData} data
 */
function names(all, data) {
  const last = all.at(-1) ?? "";
  return all.length < 2 ? last : all.slice(0, -1).join(say(data, "comma")) + say(data, "and") + last;
}

/**
 * @param {PageData} data
 * @param {string} parameter
 * @param {string} value
 */
function filtered(data, parameter, value) {
  return `${data.edition}?${new URLSearchParams({ [parameter]: value })}`;
}

/**
 * An element with attributes and children; strings become text.
 *
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(name, attributes, ...children) {
  const result = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) result.setAttribute(attribute, value);
  result.append(...children);
  return result;
}
