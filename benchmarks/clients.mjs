// Official JavaScript clients on the bytes of a file: `node clients.mjs CLIENT FILE ROUNDS`.
//
// Prints one JSON object: {"version", "text": code points of the final text, "ms": [per round]}.
// Each round serves the bytes in reads of 4 KiB from a fake `fetch`; nothing goes over a network.
// Five rounds before them do not count: V8 compiles then.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [name, file, rounds] = process.argv.slice(2);
const bytes = readFileSync(file);
const READ = 4096;

function serve() {
  let at = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(new Uint8Array(bytes.subarray(at, at + READ)));
      at += READ;
    },
  });
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "x-vercel-ai-ui-message-stream": "v1" },
  });
}

const clients = {
  async ai() {
    const { DefaultChatTransport, readUIMessageStream } = await import("ai");
    return async () => {
      const transport = new DefaultChatTransport({
        api: "http://localhost/",
        fetch: async () => serve(),
      });
      const stream = await transport.sendMessages({
        chatId: "c",
        messages: [],
        trigger: "submit-message",
      });
      let last;
      for await (const message of readUIMessageStream({ stream })) last = message;
      return last.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
    };
  },
  async "@ag-ui/client"() {
    const { HttpAgent } = await import("@ag-ui/client");
    return async () => {
      const agent = new HttpAgent({
        url: "http://localhost/",
        fetch: async () => serve(),
        threadId: "thread-1",
      });
      await agent.runAgent({ runId: "run-1" });
      return agent.messages.map((message) => message.content).join("");
    };
  },
};

const WARM = 5;
const run = await clients[name]();
let text = "";
const ms = [];
for (let round = -WARM; round < Number(rounds); round++) {
  globalThis.gc?.();
  const began = performance.now();
  text = await run();
  if (round >= 0) ms.push(performance.now() - began);
}
let version = "";
try {
  version = createRequire(import.meta.url)(`${name}/package.json`).version;
} catch {
  // a package may not export it
}
console.log(JSON.stringify({ version, text: [...text].length, ms }));
