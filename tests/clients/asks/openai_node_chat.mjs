// The openai package for Node: chat completions. All its calls are asynchronous.
import OpenAI, { APIUserAbortError, AuthenticationError } from "openai";
import * as asking from "./asking.mjs";

const { KEY, MODEL, URL, answered, user } = asking;
const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const complete = (messages, fields = {}, options = {}) =>
  client.chat.completions.create({ model: MODEL, messages, ...fields }, options);
const ask = async (messages, fields) => answered((await complete(messages, fields)).choices[0].message.content);

await asking.report({
  list: async () => ((await client.models.list()).data[0].id === MODEL ? "listed" : "failed"),
  retrieve: async () => ((await client.models.retrieve(MODEL)).created > 0 ? "found" : "failed"),
  chat: () => ask(user("chat")),
  system: () => ask([{ role: "system", content: asking.SYSTEM }, ...user("system")]),
  turns: () => ask(asking.turns),
  stream: async () => {
    const pieces = [];
    let tokens = 0;
    for await (const chunk of await complete(user("stream"), { stream: true, stream_options: { include_usage: true } })) {
      for (const choice of chunk.choices) if (choice.delta.content) pieces.push(choice.delta.content);
      tokens = chunk.usage?.total_tokens ?? tokens;
    }
    return asking.streamed(pieces, tokens);
  },
  async: () => ask(user("async")),
  stop: () => ask(user("stop"), { stop: asking.STOP }),
  n: async () => {
    const answer = await complete(user("n"), { n: 2, temperature: 0.7 });
    return asking.choices(answer.choices.map((choice) => choice.message.content));
  },
  "wrong key": () => {
    const other = new OpenAI({ baseURL: URL, apiKey: asking.WRONG_KEY, maxRetries: 0 });
    return asking.thrown(
      (error) => error instanceof AuthenticationError,
      () => other.chat.completions.create({ model: MODEL, messages: user("wrong key") }),
    );
  },
  cancelled: () =>
    asking.thrown(
      (error) => error instanceof APIUserAbortError,
      () => complete(user("cancelled"), {}, { signal: AbortSignal.timeout(asking.PATIENCE_MS) }),
    ),
});
