// An item's page, live: a correction shows while it is being read, a withdrawal leaves the stub.
//
// It listens to the item's rubric and language. An item that moves to another rubric is still told to this stream, once;
// then the stream is made anew for the new rubric.

/** @import { ItemEvent, ItemPageData, PageData, PublicItem } from "./page-data.js" */
import { showConnection } from "./connection.js";
import { Dates } from "./dates.js";
import { itemView, replaceItem } from "./item-view.js";
import { LiveStream } from "./live-stream.js";
import { element, pageData } from "./page-data.js";

/** A page older than this, kept by the browser, asks for the item first: its stream would have far to go. */
const FRESH_MS = 120_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15_000;

/** @type {PageData & ItemPageData} */
const data = pageData();
const { id } = data.item;
let { version, rubric } = data.item;
const dates = new Dates(data);
const stream = new LiveStream(filterOf(rubric), data.position, data.tick_s);

/** @param {string} rubric */
function filterOf(rubric) {
  return String(new URLSearchParams({ rubric, language: data.language }));
}

/** @param {PublicItem} item */
function show(item) {
  version = item.version;
  replaceItem(element(`item-${id}`), itemView(item, data, dates, stream.now(), { page: true }));
  document.title = `${item.headline} — ${data.site}`;
  history.replaceState(null, "", new URL(item.url, location.href).pathname); // the slug follows; a stub has none
  if (item.language !== data.language) {
    location.reload(); // another language is another page: its words, and its direction
  } else if (item.rubric !== rubric) {
    rubric = item.rubric;
    void refresh();
  }
}

/** The item as it is now, with the position at which it is: for a new filter, or after a reset. */
async function refresh() {
  for (let failures = 0; ; ) {
    try {
      const response = await fetch(`/api/items/${id}`);
      const { item, position, error } = await response.json();
      if (response.ok) {
        if (item.version !== version) show(item);
        if (!stream.source) stream.position = position;
        else if (filterOf(item.rubric) !== stream.query) stream.restart(position, filterOf(item.rubric));
        return;
      }
      if (response.status === 410) {
        show(error.item);
        return;
      }
      if (response.status === 404) return;
    } catch {
      // The network is away; try again below.
    }
    const pause = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** failures++);
    await new Promise((resume) => setTimeout(resume, pause * (0.5 + Math.random())));
  }
}

stream.addEventListener("item", (event) => {
  /** @type {ItemEvent} */
  const item = JSON.parse(/** @type {MessageEvent<string>} */ (event).data);
  if (item.id === id && item.version > version) show(item);
});
stream.addEventListener("reset", () => void refresh());
showConnection(stream, data, dates);
if (Date.now() - Date.parse(data.rendered_at) > FRESH_MS) await refresh();
stream.start();
