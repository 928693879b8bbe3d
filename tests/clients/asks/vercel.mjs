// Vercel's AI SDK with its provider for OpenAI-compatible servers. All its calls are asynchronous.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import * as asking from "./asking.mjs";

const { KEY, MODEL, URL, answered, question } = asking;
const provider = (apiKey) => createOpenAICompatible({ name: "house", baseURL: URL, apiKey, includeUsage: true });
const model = provider(KEY)(MODEL);
const ask = async (fields) => answered((await generateText({ model, maxRetries: 0, ...fields })).text);

await asking.report({
  chat: () => ask({ prompt: question("chat") }),
  system: () => ask({ prompt: question("system"), instructions: asking.SYSTEM }),
  turns: () => ask({ messages: asking.turns }),
  stream: async () => {
    const pieces = [];
    const answer = streamText({ model, maxRetries: 0, prompt: question("stream") });
    for await (const piece of answer.textStream) pieces.push(piece);
    return asking.streamed(pieces, (await answer.usage).totalTokens);
  },
  async: () => ask({ prompt: question("async") }),
  stop: () => ask({ prompt: question("stop"), stopSequences: asking.STOP }),
  "wrong key": () =>
    asking.thrown(
      (error) => error.statusCode === 401,
      () => ask({ prompt: question("wrong key"), model: provider(asking.WRONG_KEY)(MODEL) }),
    ),
  cancelled: () =>
    asking.thrown(
      (error) => error.name === "TimeoutError" || error.name === "AbortError",
      () => ask({ prompt: question("cancelled"), abortSignal: AbortSignal.timeout(asking.PATIENCE_MS) }),
    ),
});
