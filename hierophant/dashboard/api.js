// Calls of Hierophant's API. What goes wrong is told in a sentence, as an Error.

const API = '/api/v1';

/** A connection that hangs counts as none after that. */
const PATIENCE_MS = 20_000;

/** Reads a path of the API, such as `/overview`. */
export const read = (path) => call(API + path);

/** Reads a page that is no part of it, such as `/proof-history`. */
export const readPage = (path) => call(path);

/** Acts: posts JSON to a path of the API. */
export const act = (path, body = {}) => call(API + path, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** Takes away what a path of the API names. */
export const remove = (path) => call(API + path, { method: 'DELETE' });

async function call(path, options) {
  let answer;
  let text;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
    text = await answer.text();
  } catch {
    throw new Error('Hierophant does not answer');
  }
  let body = null;
  try {
    body = text === '' ? null : JSON.parse(text);
  } catch {
    if (answer.ok) throw new Error('the answer cannot be read: it is no JSON');
  }
  if (answer.ok) return body;
  const error = new Error(body?.error ?? (text.trim() || `it was refused with code ${answer.status}`));
  error.code = answer.status;
  throw error;
}
