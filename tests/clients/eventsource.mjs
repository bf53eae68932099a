// Reads so many items of a stream with a client of npm's, and prints each as [event, id, data], one a line.
const [client, url, count] = process.argv.slice(2);
let left = Number(count);
function item(id, data) {
  console.log(JSON.stringify(["item", id, data]));
  if (--left === 0) process.exit(0);
}
if (client === "eventsource") {
  const { EventSource } = await import("eventsource");
  new EventSource(url).addEventListener("item", (event) => item(event.lastEventId, event.data));
} else {
  const { createParser } = await import("eventsource-parser");
  const parser = createParser({ onEvent: (event) => event.event === "item" && item(event.id, event.data) });
  const decoder = new TextDecoder();
  for await (const bytes of (await fetch(url)).body) parser.feed(decoder.decode(bytes, { stream: true }));
}
