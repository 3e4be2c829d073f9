// Calls of Hierophant's API. A failed call throws an Error with a sentence as its message.

const API = '/api/v1';

/** Time limit of a call. */
const TIMEOUT_MS = 20_000;

/** Sends a GET to a path of the API, such as `/overview`. */
export const read = (path) => call(API + path);

/** Sends a GET to a page outside the API, such as `/proof-history`. */
export const readPage = (path) => call(path);

/** Sends a command: posts JSON to a path of the API. */
export const act = (path, body = {}) => call(API + path, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** Sends a DELETE to a path of the API. */
export const remove = (path) => call(API + path, { method: 'DELETE' });

async function call(path, options) {
  let response;
  let text;
  try {
    response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
    text = await response.text();
  } catch {
    throw new Error('no response from Hierophant');
  }
  let body = null;
  try {
    body = text === '' ? null : JSON.parse(text);
  } catch {
    if (response.ok) throw new Error('invalid response: expected JSON');
  }
  if (response.ok) return body;
  const error = new Error(body?.error ?? (text.trim() || `call failed with status ${response.status}`));
  error.code = response.status;
  throw error;
}
