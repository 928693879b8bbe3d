// The openai package for Node: responses.
import OpenAI, { APIUserAbortError, AuthenticationError } from "openai";
import * as asking from "./asking.mjs";

const { KEY, MODEL, URL, answered, question } = asking;
const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const ask = async (fields, options = {}) =>
  answered((await client.responses.create({ model: MODEL, ...fields }, options)).output_text);

await asking.report({
  chat: () => ask({ input: question("chat") }),
  system: () => ask({ input: question("system"), instructions: asking.SYSTEM }),
  turns: async () => {
    const first = await client.responses.create({ model: MODEL, input: "Create a bucket." });
    return ask({ input: [asking.turns[0], ...first.output, asking.turns[2]] });
  },
  stream: async () => {
    const pieces = [];
    let tokens = 0;
    for await (const event of await client.responses.create({ model: MODEL, input: question("stream"), stream: true })) {
      if (event.type === "response.output_text.delta") pieces.push(event.delta);
      if (event.type === "response.completed") tokens = event.response.usage.total_tokens;
    }
    return asking.streamed(pieces, tokens);
  },
  async: () => ask({ input: question("async") }),
  "wrong key": () => {
    const other = new OpenAI({ baseURL: URL, apiKey: asking.WRONG_KEY, maxRetries: 0 });
    return asking.thrown(
      (error) => error instanceof AuthenticationError,
      () => other.responses.create({ model: MODEL, input: question("wrong key") }),
    );
  },
  cancelled: () =>
    asking.thrown(
      (error) => error instanceof APIUserAbortError,
      () => ask({ input: question("cancelled") }, { signal: AbortSignal.timeout(asking.PATIENCE_MS) }),
    ),
});
