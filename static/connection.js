// What the page says about its connection: never more than it knows. The time is that of the last proof, to the second.

/** @import { PageData } from "./page-data.js" */
/** @import { Dates } from "./dates.js" */
/** @import { LiveStream } from "./live-stream.js" */
import { element, say } from "./page-data.js";

/**
 * Keep the label `#connection` true.
 *
 * @param {LiveStream} stream
 * @param {PageData} data
 * @param {Dates} dates
 */
export function showConnection(stream, data, dates) {
  const label = element("connection");
  const show = () => {
    label.dataset["state"] = stream.state;
    const at = stream.upToDateAt;
    const timed = stream.state === "live" || stream.state === "stale";
    const time = at ? dates.seconds(at) : "–";
    label.textContent = timed ? say(data, stream.state, { time }) : say(data, stream.state);
  };
  stream.addEventListener("state", show);
  show();
}
