// What every client for Node is asked to do, and what it prints; asking.py has the same for Python.

export const [URL, KEY, EXPECTED] = process.argv.slice(2);
export const MODEL = "house";
export const WRONG_KEY = "not-a-key";
export const PATIENCE_MS = 2000;
export const SYSTEM = "You are terse.";
export const STOP = ["\n\n"];

export const question = (column) => `Create a bucket (${column}).`;
export const user = (column) => [{ role: "user", content: question(column) }];
export const turns = [
  { role: "user", content: "Create a bucket." },
  { role: "assistant", content: 'resource "aws_s3_bucket" "earlier" {\n}\n' },
  ...user("turns"),
];

export const answered = (text) => (text === EXPECTED ? "answered" : `failed: ${JSON.stringify(text)}`);

export function streamed(pieces, tokens) {
  if (pieces.join("") !== EXPECTED || pieces.length < 2) return `failed: ${JSON.stringify(pieces)}`;
  return tokens ? "streamed" : "failed: no usage";
}

export const choices = (texts) =>
  texts.length === 2 && texts.every((text) => text === EXPECTED) ? "2 choices" : `failed: ${JSON.stringify(texts)}`;

/** Return the name of the error that `ask` throws; it must be one that `fits`. */
export async function thrown(fits, ask) {
  try {
    return `failed: no error, but ${JSON.stringify(await ask())}`;
  } catch (error) {
    if (!fits(error)) throw error;
    return error.name === "Error" ? error.constructor.name : error.name;
  }
}

export async function report(asks) {
  const words = {};
  for (const [column, ask] of Object.entries(asks)) {
    try {
      words[column] = await ask();
    } catch (error) {
      words[column] = `failed: ${error.constructor.name}: ${error.message}`;
    }
  }
  console.log(JSON.stringify(words));
}
