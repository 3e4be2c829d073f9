// A scatter plot of values over time, with a logarithmic scale.

import { html, useEffect, useRef, useState } from './vendor/preact.js';

const HEIGHT = 220;
const EDGE = { left: 64, right: 12, top: 12, bottom: 26 };
const KINDS = ['core', 'compressed', 'plonk', 'groth16'];

/** Positions of grid lines for counts: 1, 2, 5, 10… */
const COUNTS = [...Array(16).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));

/** Positions of grid lines for durations, in seconds. */
export const SECONDS = [0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000, 86400, 172800, 432000, 864000];

/** A scatter plot. `points` are `{ at, value, kind, id }`, `show` formats a value, `steps` are positions of grid lines. */
export function Dots({ title, points, show, steps = COUNTS }) {
  const box = useRef(null);
  const [width, setWidth] = useState(600);
  const [near, setNear] = useState(null);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(240, Math.round(entry.contentRect.width))));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const values = points.map((point) => point.value);
  const ats = points.map((point) => point.at);
  const range = { from: Math.min(...ats), to: Math.max(...ats), ...scale(steps, Math.min(...values), Math.max(...values)) };
  const x = (at) => EDGE.left + ((at - range.from) / Math.max(1, range.to - range.from)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((Math.log10(value) - range.low) / (range.high - range.low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const find = (event) => {
    const bounds = box.current.getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let best = null;
    for (const point of points) {
      const distance = Math.hypot(x(point.at) - px, y(point.value) - py);
      if (distance < 24 && (best === null || distance < best.distance)) best = { point, distance };
    }
    setNear(best?.point ?? null);
  };
  const kinds = KINDS.filter((kind) => points.some((point) => point.kind === kind));
  const summary = points.length === 0 ? 'no proofs yet' : `${points.length} proofs, from ${show(Math.min(...values))} to ${show(Math.max(...values))}`;
  return html`
    <figure class="chart">
      <figcaption><b>${title}</b><span class="legend">${kinds.map((kind) => html`<span class=${`kind ${kind}`}>${kind}</span>`)}</span>
        <span class="dim near">${near ? `${near.kind}: ${show(near.value)}, ${new Date(near.at).toLocaleTimeString()}` : ''}</span></figcaption>
      <div ref=${box} onPointerMove=${points.length > 0 ? find : undefined} onPointerLeave=${() => setNear(null)}
        onClick=${() => near && (location.hash = `#/job/${near.id}`)}>
        ${points.length === 0 ? html`<p class="empty">No proofs yet.</p>` : html`
        <svg role="img" aria-label=${`${title}: ${summary}. The table below has the figures.`} width=${width} height=${HEIGHT} viewBox=${`0 0 ${width} ${HEIGHT}`}>
          ${range.lines.map((line) => html`<g class="axis"><path d=${`M${EDGE.left} ${y(line)}H${width - EDGE.right}`} /><text x=${EDGE.left - 8} y=${y(line) + 4} text-anchor="end">${show(line)}</text></g>`)}
          <g class="axis"><text x=${EDGE.left} y=${HEIGHT - 6}>${moment(range.from, range)}</text>
            <text x=${width - EDGE.right} y=${HEIGHT - 6} text-anchor="end">${moment(range.to, range)}</text></g>
          ${kinds.map((kind) => html`<path class=${`dots ${kind}`} d=${points.filter((point) => point.kind === kind).map((point) => `M${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}h0`).join('')} />`)}
          ${near && html`<circle class="ring" cx=${x(near.at)} cy=${y(near.value)} r="6" />`}
        </svg>`}
      </div>
    </figure>`;
}

/** Grid lines around the values, at most 7; `low` and `high` are logarithms. */
function scale(steps, least, most) {
  const from = Math.max(0, steps.findLastIndex((step) => step <= least));
  const above = steps.findIndex((step) => step >= most);
  const to = Math.max(from + 1, above === -1 ? steps.length - 1 : above);
  const all = steps.slice(from, to + 1);
  const every = Math.ceil(all.length / 7);
  return { low: Math.log10(all[0]), high: Math.log10(all.at(-1)), lines: all.filter((_, index) => index % every === 0) };
}

const moment = (at, range) => (range.to - range.from > 20 * 3600e3
  ? new Date(at).toLocaleDateString([], { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' })
  : new Date(at).toLocaleTimeString());
