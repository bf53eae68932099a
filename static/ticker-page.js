// Starts the ticker's page.

import { showConnection } from "./connection.js";
import { LiveStream } from "./live-stream.js";
import { pageData } from "./page-data.js";
import { Ticker } from "./ticker.js";

const data = pageData();
const stream = new LiveStream(data.query, data.position, data.tick_s);
const ticker = new Ticker(data, stream);
showConnection(stream, data, ticker.dates);
ticker.start();
