// Formatting of figures. Times are Unix milliseconds.

const UNITS = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];

/** A duration in seconds, such as `3m 20s`: the two largest units. */
export function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Number(seconds.toFixed(1))}s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [name, length] of UNITS) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 || parts.length > 0) parts.push([count, name]);
    if (parts.length === 2) break;
  }
  return parts.filter(([count]) => count > 0).map(([count, name]) => count + name).join(' ');
}

/** The age of a time, such as `2m ago`. */
export const ago = (at, now = Date.now()) => (at == null ? '–' : `${duration(Math.max(0, Math.round((now - at) / 1000)) || 0.001).replace('1 ms', 'a moment')} ago`);

/** Local date and time. */
export const time = (at) => (at == null ? '–' : new Date(at).toLocaleString());

const LARGE = [['T', 1e12], ['G', 1e9], ['M', 1e6], ['k', 1e3]];

/** A count such as `1.2 M`. */
export function count(number) {
  if (number == null) return '–';
  if (number < 10_000) return number.toLocaleString('en');
  const [name, size] = LARGE.find(([, least]) => number >= least);
  const value = number / size;
  return `${value >= 100 ? Math.round(value) : value.toPrecision(3)} ${name}`;
}

/** Bytes such as `1.5 GiB`. */
export function bytes(number) {
  if (number == null) return '–';
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, number)) / 10)));
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB'][power];
  const value = number / 1024 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

/** A fraction of 1, such as `42 %`. */
export const percent = (part) => (part == null ? '–' : `${Math.floor(part * 1000 + 1e-6) / 10 === 100 ? 100 : (part * 100).toFixed(part > 0.99 && part < 1 ? 1 : 0)} %`);

/** An amount of money, such as `1.25 USD`. */
export const money = (amount, currency) =>
  `${amount === 0 || amount >= 100 ? amount.toFixed(0) : amount.toPrecision(amount >= 1 ? 3 : 2)} ${currency}`;

/** The first digits of an id. */
export const short = (id) => (id ?? '').replace(/^0x/, '').slice(0, 10);

/** A count and its noun, such as `1 job` or `2 jobs`. */
export const many = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
